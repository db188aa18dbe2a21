"""The documentation is true: its code runs, its references are those of the code, its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

import headwater

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return [(found[1], found[2].strip(), found[3]) for found in _BLOCK.finditer(page.read_text())]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(kind == "python" and not flags for kind, flags, _ in blocks(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, flags, code in blocks(page):
        if kind == "python" and flags != "notest":
            exec(compile(code, str(page), "exec"), names)


def test_the_shell_commands_of_the_first_page_work(tmp_path: Path) -> None:
    page = ROOT / "docs/index.md"
    [(code, shell)] = [
        (next(c for k, _, c in blocks(page) if k == "python"), c)
        for k, _, c in blocks(page)
        if k == "sh" and "--lake" in c
    ]
    program = [sys.executable, "-c"]
    subprocess.run([*program, code], cwd=tmp_path, check=True)
    start = f'"{sys.executable}" -c "from headwater.doors.cli import main; main()"'
    for line in shell.splitlines():
        ran = subprocess.run(
            line.replace("headwater ", f"{start} ", 1),
            shell=True,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"
        assert ran.stdout.strip()


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_that_of_the_code(reference: ModuleType) -> None:
    for name, page in reference.PAGES.items():
        stored = (ROOT / "docs/reference" / name).read_text()
        assert stored == page().rstrip() + "\n", f"docs/reference/{name} is old: run `make docs`"


def test_every_public_name_is_in_the_reference() -> None:
    text = (ROOT / "docs/reference/python.md").read_text()
    for name in headwater.__all__:
        assert re.search(rf"\b{name}\b", text), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_is_in_the_navigation() -> None:
    listed = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in listed, page


def test_the_pictures_show_the_figures_of_the_measurements() -> None:
    """Drawn again by ``python docs/pictures.py`` when a figure changes."""
    drawn = runpy.run_path(str(ROOT / "docs/pictures.py"))["pictures"]()
    folder = ROOT / "docs/pictures"
    assert {path.name for path in folder.iterdir()} == set(drawn)
    for name, text in drawn.items():
        assert (folder / name).read_text() == text, "run python docs/pictures.py"
        ElementTree.fromstring(text)
        assert any(f"pictures/{name}" in page.read_text() for page in PAGES)
