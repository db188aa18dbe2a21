"""The command line, run as a user runs it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import headwater as hw
from headwater.doors.cli import app, main


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-c", "from headwater.doors.cli import main; main()"]
    ran = subprocess.run(
        [*command, "demo", "--folder", str(folder / "out"), "--limit", "3000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 file read" in ran.stdout
    return folder / "out" / "lake"


def in_a_process(lake: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as a shell runs it."""
    command = [sys.executable, "-c", "from headwater.doors.cli import main; main()", "--lake", str(lake)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def headwater(lake: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in this process, which need not import anything again."""
    out, errors, code = io.StringIO(), io.StringIO(), 0
    argv = ["headwater", "--lake", str(lake), *arguments]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.setattr(sys, "argv", argv)
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), errors.getvalue())


def test_the_demo_leaves_a_lake_that_its_next_commands_work_on(demo: Path) -> None:
    [row] = json.loads(headwater(demo, "ls", "--json").stdout)
    assert row["num_rows"] == 3000
    about = json.loads(headwater(demo, "describe", "docstrings", "--json").stdout)
    assert about["indexes"][0]["coverage"] == 1.0
    rows = json.loads(headwater(demo, "query", "docstrings", "--filter", "words < 40", "--json").stdout)
    assert rows
    assert all(row["words"] < 40 for row in rows)
    by_words = [
        "search",
        "docstrings",
        "--text",
        "walk a tree",
        "--field",
        "terms",
        "--fields",
        "text",
        "--json",
    ]
    for hit in json.loads(headwater(demo, *by_words).stdout)["hits"][:3]:
        assert {"walk", "tree"} & set(hw.run_analyzer(hit["entity"]["text"], "english"))
    both = [*by_words[:5], "terms,embedding", "--json"]
    assert len(json.loads(headwater(demo, *both).stdout)["hits"]) == 10
    found = json.loads(headwater(demo, "search", "docstrings", "--text", "walk a tree", "--json").stdout)
    assert len(found["hits"]) == 10
    assert found["info"]["index_coverage"] == 1.0
    versions = json.loads(headwater(demo, "history", "docstrings", "--json").stdout)
    assert [v["version"] for v in versions] == list(range(1, len(versions) + 1))
    assert headwater(demo, "gc", "docstrings", "--dry-run").returncode == 0
    assert headwater(demo, "refresh", "docstrings").returncode == 0


def test_rows_are_written_and_kept_in_form_from_the_command_line(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    hw.connect(lake).create_collection("notes", {"id": hw.Int64, "n": hw.Int64}, "id")
    for n in (1, 2):
        pq.write_table(pa.table({"id": [1, 2, n + 2], "n": [n, n, n]}), tmp_path / f"{n}.parquet")
        ran = headwater(lake, "insert", "notes", str(tmp_path / f"{n}.parquet"), "--upsert", "--json")
        assert json.loads(ran.stdout)[0]["rows"] == 3
    [flushed] = json.loads(in_a_process(lake, "flush", "notes", "--json").stdout)
    [about] = json.loads(headwater(lake, "health", "notes", "--json").stdout)
    assert (about["num_rows"], about["growing_rows"], about["segments"]) == (4, 0, about["segments"])
    found = json.loads(headwater(lake, "changes", "notes", "--since", "0", "--json").stdout)
    assert sorted((row["id"], row["n"]) for row in found) == [(1, 2), (2, 2), (3, 1), (4, 2)]
    assert {row["change"] for row in found} == {"insert"}
    [report] = json.loads(headwater(lake, "optimize", "notes", "--json").stdout)
    assert report["version"] >= flushed["version"]
    assert "segments" in headwater(lake, "health", "notes").stdout


def test_an_error_is_one_clear_line(demo: Path) -> None:
    ran = in_a_process(demo, "describe", "nothing")
    assert ran.returncode == 1
    assert "HW201" in ran.stderr
    assert "docstrings" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_mistakes_are_one_clear_line(demo: Path) -> None:
    for arguments, code, said in (
        (["search", "docstrings", "--vector", "abc"], "HW100", "--vector is not JSON"),
        (["search", "docstrings"], "HW100", "--vector or --text"),
        (["describe", "dogs"], "HW201", "dogs"),
        (["query", "docstrings", "--filter", "colour == 1"], "HW103", "colour"),
        (["index", "docstrings", "embedding", "--type", "HSNW"], "HW104", "HNSW"),
    ):
        ran = headwater(demo, *arguments)
        assert ran.returncode == 1
        assert ran.stderr.startswith(f"error {code}")
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr + ran.stdout


def test_every_table_has_its_json(demo: Path) -> None:
    for arguments in (
        ["ls"],
        ["describe", "docstrings"],
        ["history", "docstrings"],
        ["refresh", "docstrings"],
        ["gc", "docstrings", "--dry-run"],
        ["verify", "docstrings"],
        ["index", "docstrings", "embedding"],
        ["query", "docstrings", "--limit", "2"],
        ["search", "docstrings", "--text", "sort a list", "--fields", "name"],
    ):
        shown, told = (
            CliRunner().invoke(app, ["--lake", str(demo), *arguments, *more]) for more in ([], ["--json"])
        )
        assert (shown.exit_code, told.exit_code) == (0, 0), shown.output + told.output
        assert shown.stdout.strip()
        assert json.loads(told.stdout)
