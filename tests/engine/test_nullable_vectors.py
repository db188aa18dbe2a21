"""Rows whose vector is null: kept, read back as null, and never a hit, whatever form the rows are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.errors import FilterSyntax

TYPES: dict[str, tuple[hw.FieldType, str, tuple[str, ...]]] = {
    "float": (hw.FloatVector(8), "L2", ("IVF_FLAT", "IVF_SQ8", "HNSW", "HNSW_SQ", "AUTOINDEX")),
    "float16": (hw.Float16Vector(8), "L2", ("IVF_FLAT", "HNSW")),
    "bfloat16": (hw.BFloat16Vector(8), "L2", ("AUTOINDEX", "HNSW")),
    "int8": (hw.Int8Vector(8), "L2", ("HNSW", "AUTOINDEX")),
    "binary": (hw.BinaryVector(64), "HAMMING", ("BIN_IVF_FLAT",)),
    "sparse": (hw.SparseFloatVector, "IP", ("SPARSE_INVERTED_INDEX",)),
}


def drawn(kind: str, draw: np.random.Generator) -> Any:
    if kind == "sparse":
        places = draw.choice(30, 6, replace=False)
        return {int(place): float(value) for place, value in zip(places, draw.random(6) + 0.1, strict=True)}
    if kind == "binary":
        return draw.integers(0, 256, 8).astype(np.uint8).tobytes()
    if kind == "int8":
        return draw.integers(-120, 120, 8).astype(np.int8)
    return draw.integers(-100, 100, 8).astype(np.float32)


def distance(kind: str, a: Any, b: Any) -> float:
    if kind == "sparse":
        return -sum(value * b.get(place, 0.0) for place, value in a.items())
    if kind == "binary":
        return bin(int.from_bytes(a) ^ int.from_bytes(b)).count("1")
    return float(((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2).sum())


@pytest.mark.parametrize("kind", TYPES)
def test_a_null_vector_is_kept_and_is_never_a_hit(tmp_path: Path, kind: str) -> None:
    field_type, metric, indexes = TYPES[kind]
    draw = np.random.default_rng(5)
    schema = [hw.Field("id", hw.Int64), hw.Field("v", field_type, nullable=True)]
    collection = hw.connect(tmp_path).create_collection("c", schema, "id")
    rows = {n: None if n % 3 == 0 else drawn(kind, draw) for n in range(400)}
    rows |= dict.fromkeys(range(1000, 1300)) | {1300: drawn(kind, draw), 1301: drawn(kind, draw)}
    query = drawn(kind, draw)

    def check(**params: Any) -> None:
        there = {n: distance(kind, query, v) for n, v in rows.items() if v is not None}
        if kind == "sparse":
            there = {n: far for n, far in there.items() if far < 0}
        found = collection.search(
            [query], anns_field="v", top_k=20, params={"metric_type": metric, **params}
        )[0]
        exact = sorted(there.values())[:20]
        assert [abs(hit["distance"]) for hit in found] == pytest.approx(np.abs(exact), rel=1e-3)
        assert all(rows[hit["id"]] is not None for hit in found)

    def insert(numbers: list[int]) -> None:
        collection.insert([{"id": n, "v": rows[n]} for n in numbers])

    insert([n for n in rows if n < 1000])
    collection.flush()
    insert([n for n in rows if n >= 1000])
    collection.flush()
    check()
    for index in indexes:
        options = {"nprobe": 999} if "IVF" in index else {"ef": 500} if "HNSW" in index else {}
        collection.create_index("v", index, metric_type=metric)
        check(**options)
        assert collection.search([query], anns_field="v").info.index_coverage == 1.0
        collection.drop_index("v")
    rows[1], rows[3] = None, drawn(kind, draw)
    collection.upsert([{"id": n, "v": rows[n]} for n in (1, 3)])
    check()
    collection.optimize()
    check()
    read = {row["id"]: row["v"] for row in collection.query("id >= 0", output_fields=["id", "v"])}
    assert {n for n, vector in read.items() if vector is None} == {n for n, v in rows.items() if v is None}


def test_a_field_of_nothing_but_nulls_is_indexed_and_answers_nothing(tmp_path: Path) -> None:
    schema = [hw.Field("id", hw.Int64), hw.Field("v", hw.FloatVector(4), nullable=True)]
    collection = hw.connect(tmp_path).create_collection("c", schema, "id")
    collection.insert([{"id": n, "v": None} for n in range(200)])
    collection.flush()
    collection.create_index("v", "AUTOINDEX")
    found = collection.search([[1, 2, 3, 4]], anns_field="v")
    assert (len(found[0]), found.info.index_coverage) == (0, 1.0)
    with pytest.raises(FilterSyntax, match="IsNull/IsNotNull operations are not supported on vector fields"):
        collection.count("v is null")
