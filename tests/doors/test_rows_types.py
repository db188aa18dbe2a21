"""Values of every type written and read back through the real client, compared with what was written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sparse
from pymilvus import DataType, MilvusClient, MilvusException

ml_dtypes = pytest.importorskip("ml_dtypes")
INT64, VARCHAR, ARRAY, JSON = DataType.INT64, DataType.VARCHAR, DataType.ARRAY, DataType.JSON
DRAW = np.random.default_rng(11)
NUMBER = iter(range(10_000))


def floats(dim: int) -> np.ndarray:
    return DRAW.random(dim).astype(np.float32)


Case = tuple[DataType, dict[str, Any], list[Any]]
SCALARS: dict[str, Case] = {
    "bool": (DataType.BOOL, {}, [True, False, True]),
    "int8": (DataType.INT8, {}, [-128, 127, 0]),
    "int16": (DataType.INT16, {}, [-32768, 32767, 5]),
    "int32": (DataType.INT32, {}, [-(1 << 31), (1 << 31) - 1, 6]),
    "int64": (INT64, {}, [-(1 << 63), (1 << 63) - 1, 7]),
    "float": (DataType.FLOAT, {}, [0.5, -1.25, 1e30]),
    "double": (DataType.DOUBLE, {}, [0.1, -1e300, 3.0]),
    "varchar": (VARCHAR, {"max_length": 20}, ["", "grüße", "x" * 20]),
    "json": (JSON, {}, [{"a": [1, {"b": None}]}, [1, "two", 3.5], 4]),
    "ints": (ARRAY, {"element_type": INT64, "max_capacity": 5}, [[1, 2, 3], [], [1 << 40]]),
    "bytes": (ARRAY, {"element_type": DataType.INT8, "max_capacity": 5}, [[-128], [1, 2], []]),
    "texts": (ARRAY, {"element_type": VARCHAR, "max_length": 9, "max_capacity": 5}, [["a", "ü"], [], [""]]),
    "truths": (ARRAY, {"element_type": DataType.BOOL, "max_capacity": 5}, [[True, False], [], [True]]),
    "reals": (ARRAY, {"element_type": DataType.DOUBLE, "max_capacity": 5}, [[0.1], [], [2.5, -1e200]]),
    "geometry": (DataType.GEOMETRY, {}, ["POINT (1 2)", "LINESTRING (0 0, 1 1)", "POINT (-3 4.5)"]),
    "moment": (
        DataType.TIMESTAMPTZ,
        {},
        ["2024-02-29T12:00:00Z", "1999-12-31T23:59:59.5+02:00", "2030-01-01T00:00:00Z"],
    ),
}


@pytest.fixture
def made(client: MilvusClient) -> Iterator[str]:
    name = f"t{next(NUMBER)}"
    yield name
    client.drop_collection(name)


def collection(
    client: MilvusClient, name: str, *fields: tuple[str, DataType, dict[str, Any]], **more: Any
) -> None:
    schema = client.create_schema(**more)
    schema.add_field("id", INT64, is_primary=True)
    if not any("VECTOR" in kind.name for _, kind, _ in fields):
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    for field, kind, options in fields:
        schema.add_field(field, kind, **options)
    index = client.prepare_index_params()
    for field in schema.fields:
        if "VECTOR" in field.dtype.name:
            metric = {DataType.BINARY_VECTOR: "HAMMING", DataType.SPARSE_FLOAT_VECTOR: "IP"}.get(
                field.dtype, "L2"
            )
            index.add_index(field.name, index_type="AUTOINDEX", metric_type=metric)
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")


def read(client: MilvusClient, name: str, *fields: str) -> list[dict[str, Any]]:
    rows = client.query(name, "id >= 0", output_fields=["id", *fields])
    return sorted(rows, key=lambda row: row["id"])


@pytest.mark.parametrize("nullable", [False, True])
def test_scalars_come_back_as_they_were_written(client: MilvusClient, made: str, nullable: bool) -> None:
    fields = [(name, kind, {**options, "nullable": nullable}) for name, (kind, options, _) in SCALARS.items()]
    collection(client, made, *fields)
    rows = [
        {"id": n, "vector": [0.0, 1.0], **{name: case[2][n] for name, case in SCALARS.items()}}
        for n in range(3)
    ]
    if nullable:
        rows += [{"id": 3, "vector": [0.0, 1.0], **dict.fromkeys(SCALARS)}, {"id": 4, "vector": [0.0, 1.0]}]
    assert client.insert(made, rows)["insert_count"] == len(rows)
    found = read(client, made, *SCALARS)
    for name, (_, _, values) in SCALARS.items():
        expected = [*values, None, None][: len(rows)]
        if name == "float":
            expected = [None if one is None else float(np.float32(one)) for one in expected]
        if name == "moment":
            expected[1] = "1999-12-31T21:59:59.5Z"
        assert [row[name] for row in found] == expected, name


VECTORS: dict[str, tuple[DataType, dict[str, Any], Any]] = {
    "float": (DataType.FLOAT_VECTOR, {"dim": 8}, lambda: floats(8)),
    "float list": (DataType.FLOAT_VECTOR, {"dim": 8}, lambda: floats(8).tolist()),
    "float16": (DataType.FLOAT16_VECTOR, {"dim": 8}, lambda: floats(8).astype(np.float16)),
    "float16 from floats": (DataType.FLOAT16_VECTOR, {"dim": 8}, lambda: floats(8).tolist()),
    "bfloat16": (DataType.BFLOAT16_VECTOR, {"dim": 8}, lambda: floats(8).astype(ml_dtypes.bfloat16)),
    "bfloat16 from floats": (DataType.BFLOAT16_VECTOR, {"dim": 8}, lambda: floats(8)),
    "int8": (DataType.INT8_VECTOR, {"dim": 8}, lambda: DRAW.integers(-128, 128, 8).astype(np.int8)),
    "binary": (DataType.BINARY_VECTOR, {"dim": 16}, lambda: DRAW.bytes(2)),
    "sparse": (DataType.SPARSE_FLOAT_VECTOR, {}, lambda: {3: 0.5, 100_000: 1.25}),
    "sparse pairs": (DataType.SPARSE_FLOAT_VECTOR, {}, lambda: [(9, 0.25), (2, 2.0)]),
    "sparse scipy": (DataType.SPARSE_FLOAT_VECTOR, {}, lambda: sparse.csr_matrix([[0, 1.5, 0, 2.5]])),
}


def plain(value: Any, kind: str) -> Any:
    """A vector, written or read, as a comparable value."""
    if value is None:
        return None
    if kind.startswith("sparse"):
        if hasattr(value, "tocoo"):
            value = dict(zip(value.tocoo().col.tolist(), value.tocoo().data.tolist(), strict=True))
        return {int(k): float(v) for k, v in (value.items() if isinstance(value, dict) else value)}
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], bytes):
        value = value[0]
    if kind == "binary":
        return bytes(value)
    stored = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "int8": np.int8}.get(
        kind.split()[0], np.float32
    )
    if isinstance(value, bytes):
        return np.frombuffer(value, stored).astype(np.float32).tolist()
    return np.asarray(value).astype(stored).astype(np.float32).tolist()


@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("half", [0, 1])
def test_vectors_come_back_as_they_were_written(
    client: MilvusClient, made: str, half: int, nullable: bool
) -> None:
    kinds = list(VECTORS)[half::2]
    named = {f"v{place}": kind for place, kind in enumerate(kinds)}
    fields = [(name, VECTORS[k][0], {**VECTORS[k][1], "nullable": nullable}) for name, k in named.items()]
    collection(client, made, *fields)
    rows: list[dict[str, Any]] = [{"id": n} for n in range(7)]
    for place, (name, kind) in enumerate(named.items()):
        for n, row in enumerate(rows):
            row[name] = None if nullable and (n + place) % 3 == 1 else VECTORS[kind][2]()
    client.insert(made, rows)
    found = read(client, made, *named)
    assert client.query(made, "", output_fields=["count(*)"])[0]["count(*)"] == 7
    for name, kind in named.items():
        assert [plain(row[name], kind) for row in found] == [plain(row[name], kind) for row in rows], kind
        query = next(row[name] for row in found if row[name] is not None)
        query = query[0] if isinstance(query, list) and isinstance(query[0], bytes) else query
        hits = client.search(made, [query], anns_field=name, limit=10)[0]
        assert hits, kind
        assert all(rows[hit["id"]][name] is not None for hit in hits), kind


def test_a_field_of_nothing_but_null_vectors_is_written_and_read(client: MilvusClient, made: str) -> None:
    collection(client, made, ("v", DataType.FLOAT_VECTOR, {"dim": 4, "nullable": True}))
    client.insert(made, [{"id": n, "v": None} for n in range(5)])
    assert [row["v"] for row in read(client, made, "v")] == [None] * 5
    assert client.search(made, [[1.0, 2.0, 3.0, 4.0]], anns_field="v", limit=3) == [[]]


def test_defaults_fill_what_rows_leave_out(client: MilvusClient, made: str) -> None:
    collection(
        client,
        made,
        ("count", DataType.INT32, {"default_value": np.int32(7)}),
        ("name", VARCHAR, {"max_length": 9, "default_value": "none", "nullable": True}),
        ("ratio", DataType.FLOAT, {"default_value": np.float32(0.5)}),
        ("on", DataType.BOOL, {"default_value": True}),
    )
    rows = [
        {"id": 1, "vector": [0, 1]},
        {"id": 2, "vector": [0, 1], "count": 1, "name": "x", "ratio": 2.0, "on": False},
        {"id": 3, "vector": [0, 1], "count": None, "name": None, "ratio": None, "on": None},
    ]
    client.insert(made, rows)
    found = [tuple(row[f] for f in ("count", "name", "ratio", "on")) for row in read(client, made, "*")]
    assert found == [(7, "none", 0.5, True), (1, "x", 2.0, False), (7, "none", 0.5, True)]


def test_structs_and_their_vectors_come_back_as_written(client: MilvusClient, made: str) -> None:
    schema = client.create_schema()
    schema.add_field("id", INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    parts = client.create_struct_field_schema()
    parts.add_field("text", VARCHAR, max_length=50)
    parts.add_field("page", DataType.INT32)
    parts.add_field("embedding", DataType.FLOAT_VECTOR, dim=3)
    schema.add_field(
        "parts", ARRAY, element_type=DataType.STRUCT, struct_schema=parts, max_capacity=4, nullable=True
    )
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="L2")
    index.add_index("parts[embedding]", index_type="HNSW", metric_type="MAX_SIM_COSINE")
    client.create_collection(made, schema=schema, index_params=index, consistency_level="Strong")
    given = [
        [{"text": f"t{n}{i}", "page": i, "embedding": floats(3).tolist()} for i in range(n)] for n in range(4)
    ]
    rows = [{"id": n, "vector": [0.0, 1.0], "parts": one} for n, one in enumerate(given)]
    client.insert(made, [*rows, {"id": 4, "vector": [0.0, 1.0], "parts": None}])
    found = [row["parts"] for row in read(client, made, "parts")]
    assert found == [*given, None]
    with pytest.raises(MilvusException, match=r"the length \(5\) of 0th array exceeds max capacity \(4\)"):
        client.insert(made, [{"id": 9, "vector": [0.0, 1.0], "parts": [given[1][0]] * 5}])


def test_what_the_schema_does_not_name_is_kept_and_told(client: MilvusClient, made: str) -> None:
    collection(client, made, enable_dynamic_field=True)
    rows = [{"id": 1, "vector": [0, 1], "colour": "red", "deep": {"a": [1, 2]}}, {"id": 2, "vector": [0, 1]}]
    client.insert(made, rows)
    assert [{k: v for k, v in row.items() if k != "vector"} for row in read(client, made, "*")] == [
        {"id": 1, "colour": "red", "deep": {"a": [1, 2]}},
        {"id": 2},
    ]
    assert [row["id"] for row in client.query(made, 'colour == "red"', output_fields=["id"])] == [1]


def test_moments_without_an_offset_are_in_the_collections_time_zone(client: MilvusClient, made: str) -> None:
    schema = client.create_schema()
    schema.add_field("id", INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("at", DataType.TIMESTAMPTZ, nullable=True)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="AUTOINDEX", metric_type="L2")
    zone = {"timezone": "Asia/Shanghai"}
    client.create_collection(
        made, schema=schema, index_params=index, properties=zone, consistency_level="Strong"
    )
    given = ["2025-05-01T23:59:59", "2025-05-01T23:59:59+00:00", "2025-05-01 10:00:00"]
    client.insert(made, [{"id": n, "vector": [0, 1], "at": one} for n, one in enumerate(given)])
    assert [row["at"] for row in read(client, made, "at")] == [
        "2025-05-01T23:59:59+08:00",
        "2025-05-02T07:59:59+08:00",
        "2025-05-01T10:00:00+08:00",
    ]
    for wrong in ("yesterday", "2025-02-29 00:00:00", "2025-01-01T00:00:00+24:00"):
        said = re.escape(
            f"got invalid timestamptz string '{wrong}': invalid timezone name; must be a valid IANA"
        )
        with pytest.raises(MilvusException, match=said):
            client.insert(made, [{"id": 9, "vector": [0, 1], "at": wrong}])


def test_moments_are_told_in_zones_where_they_are_in_another_year_than_dates_can_have(
    client: MilvusClient, made: str
) -> None:
    collection(client, made, ("at", DataType.TIMESTAMPTZ, {}))
    given = ["9999-12-31T23:46:05.5Z", "0001-01-01T02:00:00Z"]
    client.insert(made, [{"id": n, "vector": [0, 1], "at": one} for n, one in enumerate(given)])
    assert [row["at"] for row in read(client, made, "at")] == given
    shown = [row["at"] for row in client.query(made, filter="id >= 0", timezone="Asia/Tokyo")]
    assert shown[0] == "10000-01-01T08:46:05.5+09:00"
    assert client.query(made, filter="id == 1", timezone="America/New_York")[0]["at"].startswith(
        "0000-12-31T21:0"
    )


def test_json_keeps_its_text(client: MilvusClient, made: str) -> None:
    collection(client, made, ("j", JSON, {}))
    given = {"b": 1, "a": {"ä": "ö", "n": None, "f": 1.0, "big": 1 << 53}}
    client.insert(
        made, [{"id": 1, "vector": [0, 1], "j": given}, {"id": 2, "vector": [0, 1], "j": json.dumps(given)}]
    )
    assert [row["j"] for row in read(client, made, "j")] == [given, given]
