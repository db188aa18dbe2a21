"""The house rules, checked: sizes, names, exports, errors."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

import headwater
from headwater import errors

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "headwater").rglob("*.py"))
BANNED = {"utils", "helpers", "common", "misc", "manager", "base2", "handler", "types2"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 700
    assert path.stem not in BANNED
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 120, node.name


def test_every_public_name_is_documented() -> None:
    for name in headwater.__all__:
        value = getattr(headwater, name)
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), name


def test_every_error_has_a_code_of_its_own_and_is_exported() -> None:
    classes = [getattr(errors, name) for name in errors.__all__]
    assert len({cls.code for cls in classes}) == len(classes)
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert defined == set(errors.__all__)


def _room(path: Path) -> str:
    """The room that a module is in; a leaf is its own."""
    return path.relative_to(ROOT / "headwater").parts[0]


def test_make_bench_runs_every_benchmark() -> None:
    scripts = {one.stem: one.read_text() for one in (ROOT / "bench").glob("*.py")}
    measure = [name for name, text in scripts.items() if "Bench.from_args(" in text or '"--quick"' in text]
    listed = re.search(r"for name in ([a-z_ ]+); do", (ROOT / "Makefile").read_text())
    assert listed is not None
    assert listed[1].split() == sorted({*measure} - {"harness"})


OTHERS_PRIVATE = {"_concrete_class", "_exit", "_finalizer", "_replace"}
"""Of protobuf's messages, `os`, temporary folders and named tuples."""


def test_no_room_reaches_into_what_another_keeps_to_itself() -> None:
    """The parts of one handle stand in one room and share what it holds; other rooms use what is public."""
    defined: dict[str, set[str]] = {}
    reached = []
    for path in SOURCES:
        own = defined.setdefault(_room(path), set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
            elif isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
                if isinstance(node.ctx, ast.Store):
                    own.add(node.attr)
                elif not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                    reached.append((path, node))
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path, node in reached
        if node.attr not in defined[_room(path)] | OTHERS_PRIVATE and _room(path) != "testing"
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_error_that_a_docstring_promises_exists(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            section = re.search(
                r"\n *Raises.*?:\n(.*?)(\n\n|\Z)", f"\n{ast.get_docstring(node) or ''}", re.DOTALL
            )
            for name in re.findall(r"^ +([A-Z]\w+):", section.group(1), re.MULTILINE) if section else []:
                assert name in errors.__all__ or name in (
                    "MilvusError",
                    "TypeError",
                    "ValueError",
                    "OSError",
                ), f"{node}: {name}"


def test_importing_headwater_imports_nothing_that_only_some_need() -> None:
    dear = (
        "pandas",
        "polars",
        "duckdb",
        "pymilvus",
        "sklearn",
        "shapely",
        "httpx",
        "onnxruntime",
        "rjieba",
        "wordllama",
    )
    assert _imported("headwater.doors.cli", dear) == []


LATE = {
    "duckdb",
    "headwater.engine.costing",
    "headwater.engine.gauges",
    "headwater.govern",
    "headwater.query.expr",
    "headwater.query.expr.trees",
    "headwater.query.isolation",
    "headwater.store.hedged",
    "pyarrow.parquet",
    "tomllib",
}
"""Imported by the functions that need them; every process that opens a lake waits for the others."""


def test_what_is_imported_within_functions_is_not_imported_with_headwater() -> None:
    found = set()
    for path in SOURCES:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found |= {name for node in ast.walk(function) for name in _modules(node)}
    assert found == LATE
    assert (
        _imported("headwater", LATE | {"asyncio", "headwater.query.cost", "lark", "ssl", "statistics"}) == []
    )


def _modules(node: ast.AST) -> set[str]:
    """The modules that a statement imports."""
    if isinstance(node, ast.Import):
        return {name.name for name in node.names}
    if not isinstance(node, ast.ImportFrom) or node.module is None:
        return set()
    folder = ROOT / node.module.replace(".", "/")
    return {
        f"{node.module}.{name.name}" if (folder / name.name).is_dir() else node.module for name in node.names
    }


def _imported(module: str, names: Collection[str]) -> list[str]:
    """Which of some modules a process has after it imported one."""
    code = f"import sys, {module}; print(*[name for name in {sorted(names)} if name in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_names_that_are_imported_late_are_there_as_the_others_are() -> None:
    code = """
import headwater
assert set(headwater.__all__) <= set(dir(headwater))
try:
    headwater.no_such_name
except AttributeError as error:
    assert "no_such_name" in str(error)
else:
    raise AssertionError
from headwater import *
assert Prices is headwater.query.cost.Prices
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reading_a_column_brings_no_pandas_and_leaves_it_for_those_who_want_it() -> None:
    code = """
import sys
from headwater.formats.vortex_import import vortex
vortex()
assert "pandas" not in sys.modules
import pandas, pyarrow
assert pyarrow.array(pandas.Series([1, 2])).to_pylist() == [1, 2]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
