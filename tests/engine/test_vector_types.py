"""Vectors of every type, given in every form: what goes in comes out, and is found; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater import errors
from headwater.schema import bfloat16_numbers
from headwater.schema.vectors import bfloat16_bits

DIM, N = 16, 60
KINDS = {
    "float": (hw.FloatVector(DIM), np.dtype(np.float32)),
    "half": (hw.Float16Vector(DIM), np.dtype(np.float16)),
    "bfloat16": (hw.BFloat16Vector(DIM), np.dtype(np.uint16)),
    "int8": (hw.Int8Vector(DIM), np.dtype(np.int8)),
    "binary": (hw.BinaryVector(DIM * 8), np.dtype(np.uint8)),
}


def numbers(kind: str) -> np.ndarray:
    """(N, DIM) whole numbers that each type holds exactly."""
    low = 0 if kind == "binary" else -100
    return np.random.default_rng(0).integers(low, 100, (N, DIM)).astype(np.float32)


def stored(kind: str, rows: np.ndarray) -> np.ndarray:
    """The same in the stored type, by numpy alone."""
    if kind == "bfloat16":
        return (rows.view(np.uint32) >> 16).astype(np.uint16)
    return rows.astype(KINDS[kind][1])


def forms(kind: str) -> dict[str, Any]:
    rows = numbers(kind)
    own = stored(kind, rows)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(own.reshape(-1)), DIM)
    return {
        "matrix": own,
        "matrix of float64": rows.astype(np.float64),
        "arrays": list(own),
        "lists": rows.tolist(),
        "bytes": [row.tobytes() for row in own],
        "fixed-size lists": flat,
        "lists of floats in Arrow": pa.array(rows.tolist(), pa.list_(pa.float32())),
        "binary in Arrow": pa.array([row.tobytes() for row in own]),
    }


def made(path: Path, kind: str, values: Any, **options: Any) -> hw.Collection:
    fields = [hw.Field("id", hw.Int64), hw.Field("v", KINDS[kind][0], nullable=True)]
    col = hw.connect(path).create_collection("docs", fields, "id", **options)
    col.insert({"id": range(len(values)), "v": values})
    return col


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_of_a_vector_is_stored_alike(tmp_path: Path, kind: str) -> None:
    expected = numbers(kind).tolist()
    for number, (form, values) in enumerate(forms(kind).items()):
        col = made(tmp_path / str(number), kind, values)
        assert [row["v"] for row in col.query(order_by="id")] == expected, form
        col.flush()
        assert col.get([7])[0]["v"] == expected[7], form
        flat = col.to_arrow()["v"].combine_chunks().flatten().to_numpy()
        np.testing.assert_array_equal(flat.reshape(N, DIM), stored(kind, numbers(kind)), err_msg=form)
        assert len(col.to_pandas()) == N


@pytest.mark.parametrize("form", [None, "parquet"])
@pytest.mark.parametrize("kind", KINDS)
def test_nulls_among_vectors_stay_nulls_and_are_never_found(
    tmp_path: Path, kind: str, form: str | None
) -> None:
    rows: list[Any] = numbers(kind).tolist()
    rows[0] = rows[9] = rows[N - 1] = None
    col = made(tmp_path, kind, rows, format=form)
    query = [stored(kind, numbers(kind))[5].tobytes()]
    for step in (lambda: None, col.flush, lambda: col.delete([20]), col.optimize):
        step()
        kept = [i for i in range(N) if rows[i] is not None and (i != 20 or col.num_rows == N)]
        hits = [hit["id"] for hit in col.search(query, top_k=N)[0]]
        assert hits[0] == 5
        assert sorted(hits) == kept
        assert col.get([9])[0]["v"] is None
    col.upsert([{"id": 9, "v": rows[5]}])
    assert {hit["id"] for hit in col.search(query, top_k=2)[0]} == {5, 9}


@pytest.mark.parametrize("kind", ["half", "bfloat16", "int8"])
@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
def test_distances_are_those_of_the_numbers(tmp_path: Path, kind: str, metric: str) -> None:
    rows = numbers(kind).astype(np.float64)
    col = made(tmp_path, kind, stored(kind, numbers(kind)))
    query = rows[3] + 0.5
    products = rows @ query
    value = {
        "L2": ((rows - query) ** 2).sum(axis=1),
        "IP": products,
        "COSINE": products / np.linalg.norm(rows, axis=1) / np.linalg.norm(query),
    }[metric]
    order = np.argsort(value if metric == "L2" else -value, kind="stable")[:10]
    for index in (None, "HNSW", "IVF_RABITQ"):
        if index is not None:
            col.create_index("v", index, metric_type=metric)
        hits = col.search(query, top_k=10, params={"metric_type": metric})[0]
        assert [hit["id"] for hit in hits] == order.tolist()
        np.testing.assert_allclose([hit["distance"] for hit in hits], value[order], rtol=1e-4)


def test_queries_may_be_given_as_they_are_stored(tmp_path: Path) -> None:
    for kind in ("half", "bfloat16", "int8"):
        own = stored(kind, numbers(kind))
        col = made(tmp_path / kind, kind, own)
        for data in (own[4], own[4:5], [own[4].tobytes()], numbers(kind)[4].tolist()):
            assert col.search(data, top_k=1)[0][0]["id"] == 4
        with pytest.raises(errors.DimensionMismatch, match="bytes"):
            col.search([own[4].tobytes()[:-1]])


def test_bfloat16_rounds_to_the_nearest_even() -> None:
    # By hand: 1 + 2**-8 lies half way between two numbers of eight bits, and goes to the even one.
    assert bfloat16_numbers(
        bfloat16_bits(np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20]))
    ).tolist() == [
        1.0,
        1 + 2**-6,
        1 + 2**-7,
    ]
    some = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    near = bfloat16_numbers(bfloat16_bits(some))
    assert (np.abs(near - some) <= np.abs(some) * 2**-8).all()


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("int8", [0.5] * DIM, "0.5 does not fit int8"),
        ("int8", [300] * DIM, "300 does not fit int8"),
        ("int8", [float("nan")] * DIM, "nan does not fit int8"),
        ("binary", [-1] * DIM, "-1 does not fit uint8"),
        ("binary", [1.5] * DIM, "1.5 does not fit uint8"),
        ("half", [1e6] * DIM, "NaN or infinity"),
        ("bfloat16", [float("inf")] * DIM, "NaN or infinity"),
        ("bfloat16", [3.4e38] * DIM, "NaN or infinity"),
        ("float", [1e300] * DIM, "NaN or infinity"),
        ("float", ["1"] * DIM, "float_vector"),
        ("float", [True] * DIM, "float_vector"),
        ("int8", [1] * (DIM - 1), f"expected {DIM} numbers"),
        ("half", b"ab", f"expected {DIM} numbers"),
    ],
)
def test_what_a_type_cannot_hold_is_refused_and_the_row_named(
    tmp_path: Path, kind: str, value: Any, said: str
) -> None:
    col = made(tmp_path, kind, numbers(kind)[:2])
    good = numbers(kind)[0].tolist()
    with pytest.raises(errors.SchemaMismatch, match=said) as raised:
        col.insert([{"id": 10, "v": good}, {"id": 11, "v": None}, {"id": 12, "v": value}])
    assert "row 2" in str(raised.value)
    if not isinstance(value, bytes) and len(value) == DIM and not isinstance(value[0], str | bool):
        with pytest.raises(errors.SchemaMismatch, match="row 1"):
            col.insert({"id": [10, 11], "v": np.array([good, value])})
    assert col.num_rows == 2
