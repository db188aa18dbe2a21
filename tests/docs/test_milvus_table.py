"""The table of what of Milvus there is: every row is backed by a test that exists."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLES = sorted((ROOT / "docs" / "milvus").glob("*.tsv"))
ROWS = [
    (table.stem, row)
    for table in TABLES
    for row in csv.DictReader(table.read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
]
GROUPS = {
    "data type", "schema", "collection/db ops", "dml", "index vector dense",
    "index scalar", "metrics", "search", "query", "filter", "text/analyzer", "lake: external collection",
    "lake: snapshot", "lake: tiered storage", "security", "cluster", "bulk", "client", "rest v2",
}  # fmt: skip


@pytest.mark.parametrize(("table", "row"), ROWS, ids=[f"{table}-{row['feature']}" for table, row in ROWS])
def test_every_feature_has_a_test(table: str, row: dict[str, str]) -> None:
    assert row["support"] in ("yes", "better", "partly", "refused"), row
    assert row["support"] in ("yes", "better") or row["note"], "says what is not there"
    path, _, name = row["test"].partition("::")
    assert (ROOT / path).is_file(), path
    tree = ast.parse((ROOT / path).read_text())
    found = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    assert not name or name.split("[")[0].split("::")[-1] in found, row["test"]


def test_the_groups_are_milvus_own_and_no_feature_is_told_twice() -> None:
    keys = [(row["group"], row["feature"]) for _, row in ROWS]
    assert len(set(keys)) == len(keys), sorted(key for key in keys if keys.count(key) > 1)
    assert {group for group, _ in keys} <= GROUPS
