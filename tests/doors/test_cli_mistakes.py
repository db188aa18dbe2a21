"""What people do wrong at the command line, and what they see in a narrow terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import headwater as hw
from headwater.doors.cli import app, showing
from headwater.errors import CollectionNotFound, HeadwaterError, InvalidArgument


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "lake"
    with hw.connect(folder) as db:
        notes = db.create_collection("notes", {"id": hw.Int64, "v": hw.FloatVector(4)}, "id")
        notes.insert([{"id": i, "v": [1.0, i, 0.0, 0.0]} for i in range(30)])
        notes.flush()
    return folder


def run(lake: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--lake", str(lake), *arguments])


def test_a_text_is_no_question_to_vectors_that_no_function_made(lake: Path) -> None:
    refused = run(lake, "search", "notes", "--text", "walrus").exception
    assert isinstance(refused, InvalidArgument)
    assert "'notes'" in refused.message
    assert "'v'" in refused.message
    assert "--vector" in (refused.hint or "")


def test_a_lake_that_is_not_there_is_named(lake: Path, tmp_path: Path) -> None:
    nothing = run(tmp_path / "typo", "ls")
    assert nothing.exit_code == 0
    assert str(tmp_path / "typo") in nothing.stdout.replace("\n", "")
    missing = run(tmp_path / "typo", "describe", "notes").exception
    assert isinstance(missing, CollectionNotFound)
    assert str(tmp_path / "typo") in (missing.hint or "")
    file = tmp_path / "file"
    file.write_text("no lake")
    refused = run(file, "ls").exception
    assert isinstance(refused, InvalidArgument)
    assert str(file) in refused.message
    assert not (tmp_path / "typo").exists()


def test_the_lake_may_be_named_after_the_command(lake: Path) -> None:
    for arguments in (["count", "notes", "--lake", str(lake)], [f"--lake={lake}", "count", "notes"]):
        counted = CliRunner().invoke(app, [*arguments, "--json"])
        assert counted.stdout.strip() == '[{"count": 30}]', counted.output
    explained = CliRunner().invoke(app, ["query", "notes", "--explain", f"--lake={lake}", "-f", "id > 27"])
    assert explained.exit_code == 0
    assert "filter" in explained.stderr
    inner = CliRunner().invoke(app, ["run", "--on-demand", "count", "notes", "--lake", str(lake), "--json"])
    assert '"count": 30' in inner.stdout, inner.output
    assert CliRunner().invoke(app, ["count", "--leak", "x", "notes"]).exit_code == 2


def test_what_is_out_of_range_or_not_there_is_refused(lake: Path) -> None:
    for arguments, says in (
        (["serve", "--port", "99999"], "99999"),
        (["serve", "--workers", "0"], "server.workers=0: expected 1 or more"),
        (["serve", "--set", "server.short_threads=0"], "server.short_threads=0"),
        (["serve", "--set", "tiers.policy=hott"], "setting tiers.policy: no tier policy 'hott'"),
        (["serve", "--set", "tiers.warmup=later"], "setting tiers.warmup"),
        (["serve", "--set", "maintenance.window=9-99"], "'9-99'"),
        (["drop-token", "nobody"], "nobody"),
    ):
        refused = run(lake, *arguments).exception
        assert isinstance(refused, HeadwaterError), arguments
        assert says in refused.message
    for option in ("--retention-s", "--grace-s"):
        assert run(lake, "gc", "notes", option, "-5").exit_code == 2
    assert len(hw.connect(lake).collection("notes").history()) > 1


def test_long_answers_are_shown_in_part_and_given_whole_to_programs(lake: Path) -> None:
    shown = run(lake, "changes", "notes").stdout
    assert "20 of 30 rows; --limit shows more" in shown
    assert shown.count("insert") == 20
    assert run(lake, "changes", "notes", "--json").stdout.count('"insert"') == 30


def test_the_costs_fit_a_terminal(lake: Path) -> None:
    """No figure is cut off at 80 columns, in the table or in what Python prints."""
    shown = run(lake, "cost", "notes")
    assert shown.exit_code == 0, shown.output
    assert "…" not in shown.stdout
    printed = str(hw.connect(lake).collection("notes").cost())
    for word in ("hot", "warm", "cold", "on demand", "a month"):
        assert word in shown.stdout.replace("_", " ")
        assert word in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80


def test_a_share_is_whole_only_where_it_is(lake: Path) -> None:
    with hw.connect(lake) as db:
        db.create_index("notes", "v", "IVF_FLAT", params={"nlist": 1})
        db.collection("notes").insert([{"id": 100, "v": [1.0, 1.0, 1.0, 1.0]}])
        assert "96.7% indexed" in run(lake, "search", "notes", "--vector", "[1, 0, 0, 0]").stdout


def test_the_demo_replaces_nothing_but_a_demo(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "mine.txt").write_text("not to be lost")
    refused = CliRunner().invoke(app, ["demo", "--folder", str(tmp_path)]).exception
    assert isinstance(refused, InvalidArgument)
    assert str(tmp_path) in refused.message
    file = tmp_path / "lake" / "mine.txt"
    assert isinstance(CliRunner().invoke(app, ["demo", "--folder", str(file)]).exception, InvalidArgument)
    assert file.read_text() == "not to be lost"
    assert CliRunner().invoke(app, ["demo", "--folder", str(tmp_path), "--limit", "10"]).exit_code == 2


def test_what_is_printed_for_programs_is_json_whatever_the_numbers(tmp_path: Path) -> None:
    with hw.connect(tmp_path) as db:
        notes = db.create_collection("notes", {"id": hw.Int64, "x": hw.Double}, "id")
        notes.insert([{"id": 1, "x": float("nan")}, {"id": 2, "x": float("inf")}, {"id": 3, "x": 0.5}])

    def strictly(text: str) -> Any:
        def refuse(word: str) -> None:
            raise AssertionError(word)

        return json.loads(text, parse_constant=refuse)

    rows = [{"id": 1, "x": None}, {"id": 2, "x": None}, {"id": 3, "x": 0.5}]
    assert strictly(run(tmp_path, "query", "notes", "--json").stdout) == rows
    lines = run(tmp_path, "export", "notes", "-o", "-").stdout.splitlines()
    assert [strictly(line) for line in lines] == rows


def test_the_version_and_the_meaning_of_settings_are_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"headwater {hw.__version__}\n"
    told = json.loads(CliRunner().invoke(app, ["settings", "--json"]).stdout)
    assert all(one["meaning"] for one in told)
    [heavy] = [one for one in told if one["setting"] == "server.heavy_rows"]
    assert heavy["meaning"].endswith("brings more than a megabyte.")


def test_variables_that_are_no_settings_but_known_are_let_be(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HEADWATER_TOKEN", "HEADWATER_CREDENTIAL_WORK", "HEADWATER_CREDENTIAL_WORK_URL"):
        monkeypatch.setenv(name, "x")
    assert run(lake, "count", "notes").exit_code == 0
    assert hw.connect(lake).collection("notes").num_rows > 0


def test_a_lake_that_is_not_said_is_missed(lake: Path) -> None:
    for arguments in (["count", "notes", "--lake"], ["--lake"]):
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 2
        assert "--lake" in refused.output
        assert "No such command" not in refused.output


def test_a_narrow_terminal_cuts_no_words(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing.console, "width", 80)
    built = run(lake, "index", "notes", "id").stdout
    assert "segments_covered" in built
    assert not built.startswith("\n")
    assert "bytes_deleted" in run(lake, "gc", "notes", "--dry-run").stdout
    shown = run(lake, "tiers", "notes").stdout
    assert "the store" in shown
    assert "file://" not in shown


def test_a_description_says_what_each_field_is(tmp_path: Path) -> None:
    with hw.connect(tmp_path) as db:
        fields = [
            hw.Field("id", hw.Int64),
            hw.Field("text", hw.VarChar(99, analyzer="english")),
            hw.Field("tags", hw.Array(hw.Int8), nullable=True),
            hw.Field("lang", hw.String, default="en"),
            hw.Field("terms", hw.SparseFloatVector),
        ]
        db.create_collection("notes", fields, "id", functions=[hw.Function("bm25", "BM25", "text", "terms")])
    shown = " ".join(run(tmp_path, "describe", "notes").stdout.split())
    for word in ("primary key", "max_length=99", "array<int8>", "nullable", "default 'en'", "BM25 of text"):
        assert word in shown
