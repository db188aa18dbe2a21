"""Commands that read, computed on demand: run as a user runs them, but in this process where that says the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import headwater as hw
from headwater.doors.cli import app
from headwater.errors import HeadwaterError

ROWS = 500
VECTORS = np.random.default_rng(3).standard_normal((ROWS, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "lake"
    with hw.connect(folder) as db:
        docs = db.create_collection("docs", {"id": hw.Int64, "year": hw.Int64, "v": hw.FloatVector(8)}, "id")
        block = pa.FixedSizeListArray.from_arrays(VECTORS.ravel(), 8)
        docs.insert(pa.table({"id": range(ROWS), "year": [2000 + n % 20 for n in range(ROWS)], "v": block}))
    np.save(folder.parent / "q.npy", VECTORS[[5, 9]])
    return folder


def told(lake: Path, *arguments: str, given: str | None = None) -> bytes:
    ran = CliRunner().invoke(app, ["--lake", str(lake), *arguments], input=given)
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.stdout_bytes


def test_a_process_of_its_own_searches_within_bounds_and_leaves(lake: Path) -> None:
    command = [sys.executable, "-c", "from headwater.doors.cli import main; main()", "--lake", str(lake)]
    query = f"@{lake.parent / 'q.npy'}"
    search = [
        "run",
        "--on-demand",
        "--memory",
        "2GB",
        "--timeout",
        "120",
        "search",
        "docs",
        "--vector",
        query,
    ]
    ran = subprocess.run(
        [*command, *search, "--limit", "3", "--fields", "year", "-o", "-.arrow"],
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = pa.ipc.open_stream(ran.stdout).read_all().to_pylist()
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    nearest = [np.argsort(-unit @ unit[row])[:3].tolist() for row in (5, 9)]
    assert [hit["id"] for hit in found] == [*nearest[0], *nearest[1]]
    assert [hit["query"] for hit in found] == [0, 0, 0, 1, 1, 1]
    assert all(hit["year"] == 2000 + hit["id"] % 20 for hit in found)


def test_reads_write_their_rows_in_any_form(lake: Path, tmp_path: Path) -> None:
    run = ["run", "--on-demand"]
    assert json.loads(told(lake, *run, "count", "docs", "-f", "year == 2003", "--json")) == [{"count": 25}]
    target = tmp_path / "rows.parquet"
    told(lake, *run, "export", "docs", "-o", str(target), "-f", "year >= 2010", "--fields", "id,v")
    table = pq.read_table(target)
    assert sorted(table.column("id").to_pylist()) == [n for n in range(ROWS) if n % 20 >= 10]
    at = table.column("id").to_pylist().index(11)
    assert table.column("v")[at].as_py() == VECTORS[11].tolist()
    lines = told(lake, *run, "query", "docs", "-f", "id < 2", "--fields", "id,year", "-o", "-").splitlines()
    assert [json.loads(line) for line in lines] == [{"id": 0, "year": 2000}, {"id": 1, "year": 2001}]
    told(lake, "export", "docs", "-o", str(tmp_path / "none.arrow"), "-f", "year > 3000")
    none = pa.ipc.open_file(tmp_path / "none.arrow").read_all()
    assert (none.num_rows, none.schema.names) == (0, ["id", "year", "v"])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["none.arrow", "rows.parquet"]


def test_requests_in_json_are_answered_line_by_line(lake: Path) -> None:
    query = VECTORS[7].tolist()
    requests = [
        {"call": "search", "collection": "docs", "data": [query], "top_k": 2, "output_fields": ["year"]},
        {"call": "count", "collection": "docs"},
        {"call": "get", "collection": "docs", "ids": [3], "output_fields": ["id"]},
        {
            "call": "hybrid_search",
            "collection": "docs",
            "reqs": [{"data": [query], "anns_field": "v", "limit": 5}] * 2,
            "ranker": {"weighted": [0.5, 0.5]},
            "limit": 1,
        },
    ]
    given = "\n".join(map(json.dumps, requests))
    first, count, row, both = map(
        json.loads, told(lake, "run", "--on-demand", "ask", given=given).splitlines()
    )
    assert (first["hits"][0][0]["id"], first["hits"][0][0]["entity"]) == (7, {"year": 2007})
    assert count == {"count": ROWS}
    assert row["rows"] == [{"id": 3}]
    assert [hit["id"] for hit in both["hits"][0]] == [7]
    bad = CliRunner().invoke(
        app, ["--lake", str(lake), "ask"], input='{"call": "drop", "collection": "docs"}\n[]\n'
    )
    errors = [json.loads(line)["error"] for line in bad.stdout.splitlines()]
    assert bad.exit_code == 1
    assert [one["code"] for one in errors] == ["HW100", "HW100"]
    assert "drop" in errors[0]["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "count", "docs"], "where the command computes"),
        (["run", "--on-demand", "insert", "docs", "x.parquet"], "run insert"),
        (["run", "--on-demand", "--executor", "here", "--timeout", "1", "count", "docs"], "takes no bounds"),
        (["run", "--on-demand", "--memory", "lots", "count", "docs"], "lots"),
        (["export", "docs", "-o", "rows.csv"], "unknown format"),
        (["search", "docs", "--vector", "@nowhere.npy"], "nowhere.npy"),
    ],
)
def test_what_run_cannot_do_is_refused_by_name(lake: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(HeadwaterError, match=said):
        told(lake, *arguments)


def test_nothing_is_written_on_demand(lake: Path) -> None:
    from headwater.engine import open_on_demand
    from headwater.errors import PermissionDenied

    with pytest.raises(PermissionDenied, match="reading only"):
        open_on_demand(lake).collection("docs").insert([{"id": -1, "year": 1, "v": [0.0] * 8}])
