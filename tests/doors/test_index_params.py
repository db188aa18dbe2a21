"""Every index type with its valid and invalid parameters, through an unmodified client."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException
from serving import served

from headwater.doors.milvus.codes import MilvusError
from headwater.doors.milvus.faiss_names import described_by
from headwater.doors.milvus.index_params import search_params
from headwater.doors.milvus.index_types import VECTOR_TYPES
from headwater.lake import IndexSpec
from headwater.schema import Field, FieldType
from headwater.types import DataType as DataTypes

DIM = 32
FLOATS = Field(name="v", type=FieldType(DataTypes.FLOAT_VECTOR, dim=DIM))
VECTORS = {
    "float": DataType.FLOAT_VECTOR,
    "half": DataType.FLOAT16_VECTOR,
    "brain": DataType.BFLOAT16_VECTOR,
    "int8": DataType.INT8_VECTOR,
    "bits": DataType.BINARY_VECTOR,
}
SCALARS = {
    "flag": DataType.BOOL,
    "tiny": DataType.INT8,
    "number": DataType.INT64,
    "real": DataType.DOUBLE,
    "text": DataType.VARCHAR,
    "document": DataType.JSON,
    "place": DataType.GEOMETRY,
    "moment": DataType.TIMESTAMPTZ,
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def client(lake: Path) -> Iterator[MilvusClient]:
    with served(lake) as address:
        made = MilvusClient(address)
        schema = made.create_schema(enable_dynamic_field=True)
        schema.add_field("id", DataType.INT64, is_primary=True)
        for name, kind in VECTORS.items():
            schema.add_field(name, kind, dim=DIM)
        schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
        for name, kind in SCALARS.items():
            schema.add_field(name, kind, **({"max_length": 99} if kind is DataType.VARCHAR else {}))
        schema.add_field("tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=9, max_length=9)
        schema.add_field("points", DataType.ARRAY, element_type=DataType.FLOAT, max_capacity=9)
        made.create_collection("c", schema=schema)
        yield made
        made.close()


def create(client: MilvusClient, field: str, index_type: str = "", name: str = "", **params: Any) -> None:
    wanted = client.prepare_index_params()
    wanted.add_index(field, index_type=index_type, index_name=name, **params)
    client.create_index("c", wanted, sync=False)


def described(client: MilvusClient, field: str, index_type: str = "", **params: Any) -> dict[str, Any]:
    """What an index is described as; it is dropped again."""
    create(client, field, index_type, "one", **params)
    try:
        return dict(client.describe_index("c", "one"))
    finally:
        client.drop_index("c", "one")


def refused(client: MilvusClient, field: str, index_type: str, **params: Any) -> MilvusException:
    with pytest.raises(MilvusException) as raised:
        create(client, field, index_type, "one", **params)
    assert client.list_indexes("c") == []
    return raised.value


@pytest.mark.parametrize(
    ("index_type", "params", "fields"),
    [
        ("FLAT", {}, "float half brain"),
        ("IVF_FLAT", {"nlist": 128}, "float half brain"),
        ("IVF_FLAT", {"nlist": 65_536}, "float"),
        ("IVF_SQ8", {"nlist": 1}, "float half brain"),
        ("IVF_PQ", {"nlist": 128, "m": 8, "nbits": 8}, "float half brain"),
        ("IVF_RABITQ", {"nlist": 128, "refine": True, "refine_type": "SQ8"}, "float half brain"),
        ("IVF_RABITQ", {"refine": "false", "refine_type": "fp16"}, "float"),
        ("SCANN", {"nlist": 128, "with_raw_data": True}, "float half brain"),
        ("HNSW", {"M": 2, "efConstruction": 1}, "float half brain int8 bits"),
        ("HNSW", {"M": 2048, "efConstruction": 10_000}, "float"),
        ("HNSW", {"M": "16"}, "float"),
        *(
            ("HNSW_SQ", {"sq_type": one, "refine": True}, "float")
            for one in ("SQ4U", "SQ6", "SQ8", "BF16", "FP16")
        ),
        ("HNSW_SQ", {"M": 16, "refine_type": "sq4u"}, "half brain int8"),
        ("HNSW_PQ", {"M": 16, "m": 8, "nbits": 8, "refine_type": "FP32"}, "float half brain int8"),
        ("HNSW_PRQ", {"m": 4, "nbits": 8, "nrq": 2}, "float half brain int8"),
        ("DISKANN", {}, "float half brain"),
        ("DISKANN", {"search_list_size": 100, "max_degree": 56}, "float"),
        ("DISKANN", {"pq_code_budget_gb": 1.0, "search_dram_budget_gb": 1.0, "num_threads": 8}, "float"),
        ("AISAQ", {"inline_pq": 1}, "float half brain"),
    ],
)
@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
def test_dense_types_round_trip(
    client: MilvusClient, index_type: str, params: dict[str, Any], fields: str, metric: str
) -> None:
    for field in fields.split():
        if field == "bits":
            continue
        found = described(client, field, index_type, metric_type=metric, params=params)
        assert found["index_type"] == index_type
        assert found["metric_type"] == metric
        assert {name: found[name] for name in params} == {name: str(one) for name, one in params.items()}
        assert found["state"] == "Finished"


@pytest.mark.parametrize(
    ("index_type", "fields"),
    [
        *(
            (one, "int8 bits")
            for one in ("FLAT", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "IVF_RABITQ", "SCANN", "DISKANN")
        ),
        *((one, "bits") for one in ("HNSW_SQ", "HNSW_PQ", "HNSW_PRQ")),
        ("BIN_FLAT", "float half brain int8"),
        ("SPARSE_WAND", "float bits"),
    ],
)
def test_dense_types_fit_their_vectors(client: MilvusClient, index_type: str, fields: str) -> None:
    for field in fields.split():
        error = refused(client, field, index_type)
        assert error.code == 1100
        assert f"can't build with this index {index_type}: invalid parameter" in error.message


@pytest.mark.parametrize(
    ("index_type", "field", "metric", "params"),
    [
        ("BIN_FLAT", "bits", "HAMMING", {}),
        ("BIN_FLAT", "bits", "JACCARD", {}),
        ("BIN_IVF_FLAT", "bits", "HAMMING", {"nlist": 64}),
        ("HNSW", "bits", "JACCARD", {"M": 16}),
        ("MINHASH_LSH", "bits", "MHJACCARD", {"mh_element_bit_width": 32, "mh_lsh_band": 1}),
        ("SPARSE_INVERTED_INDEX", "sparse", "IP", {"inverted_index_algo": "DAAT_MAXSCORE"}),
        ("SPARSE_INVERTED_INDEX", "sparse", "IP", {"drop_ratio_build": 0.2}),
        ("SPARSE_WAND", "sparse", "IP", {}),
    ],
)
def test_binary_and_sparse_types_round_trip(
    client: MilvusClient, index_type: str, field: str, metric: str, params: dict[str, Any]
) -> None:
    found = described(client, field, index_type, metric_type=metric, params=params)
    assert (found["index_type"], found["metric_type"]) == (index_type, metric)
    assert {name: found[name] for name in params} == {name: str(one) for name, one in params.items()}


@pytest.mark.parametrize(
    ("field", "metric"),
    [
        *((name, "COSINE") for name in ("float", "half", "brain", "int8")),
        ("bits", "HAMMING"),
        ("sparse", "IP"),
    ],
)
def test_an_index_of_no_type_is_an_autoindex(client: MilvusClient, field: str, metric: str) -> None:
    for index_type in ("", "AUTOINDEX"):
        found = described(client, field, index_type)
        assert (found["index_type"], found["metric_type"]) == ("AUTOINDEX", metric)


NOT_IN_RANGE = "Out of range in json: param '{}' ({}) should be in range [{}, {}]: invalid parameter"


@pytest.mark.parametrize("index_type", ["HNSW", "HNSW_SQ", "IVF_RABITQ", "DISKANN"])
def test_parameters_that_are_like_none_are_told_again(client: MilvusClient, index_type: str) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=4)
    index = client.prepare_index_params()
    index.add_index("v", index_type=index_type, metric_type="L2", params={"not_defined_param": "nothing"})
    client.create_collection(name, schema=schema, index_params=index)
    assert client.describe_index(name, "v")["not_defined_param"] == "nothing"
    client.drop_collection(name)


@pytest.mark.parametrize(
    ("index_type", "params", "message"),
    [
        ("HNSW", {"M": -1}, NOT_IN_RANGE.format("M", -1, 2, 2048)),
        ("HNSW", {"M": 1}, NOT_IN_RANGE.format("M", 1, 2, 2048)),
        ("HNSW", {"M": 2049}, NOT_IN_RANGE.format("M", 2049, 2, 2048)),
        ("HNSW", {"M": 16.0}, "wrong data type in json, key: 'M', value: '16.0': invalid parameter"),
        ("HNSW", {"M": True}, "invalid integer value, key: 'M', value: 'True': invalid parameter"),
        ("HNSW", {"M": [16]}, "invalid integer value, key: 'M', value: '[16]': invalid parameter"),
        ("HNSW", {"efConstruction": -1}, NOT_IN_RANGE.format("efConstruction", -1, 1, 2147483647)),
        ("IVF_FLAT", {"nlist": 0}, NOT_IN_RANGE.format("nlist", 0, 1, 65536)),
        ("IVF_SQ8", {"nlist": 65537}, NOT_IN_RANGE.format("nlist", 65537, 1, 65536)),
        ("IVF_PQ", {"m": 7}, "should be a multiple of the number of subquantizers (m). Dimension:32, m:7"),
        ("IVF_PQ", {"nbits": 25}, NOT_IN_RANGE.format("nbits", 25, 1, 24)),
        ("HNSW_PQ", {"m": 256}, "The dimension of the vector (dim) should be a multiple"),
        ("HNSW_PRQ", {"nrq": 17}, NOT_IN_RANGE.format("nrq", 17, 1, 16)),
        ("HNSW_SQ", {"sq_type": "FP32"}, "invalid scalar quantizer type: invalid parameter"),
        (
            "HNSW_SQ",
            {"refine_type": "INT8"},
            "invalid refine type : INT8, optional types are [sq4u, sq6, sq8,",
        ),
        (
            "HNSW_PQ",
            {"refine_type": 1},
            "invalid refine type : 1, optional types are [sq6, sq8, fp16, bf16, fp32, flat]",
        ),
        ("HNSW_SQ", {"refine": 1}, "should be a boolean: invalid parameter"),
        ("IVF_RABITQ", {"refine": 1}, """Type conflict in json: param 'refine' ("1") should be a boolean"""),
        ("AUTOINDEX", {"nlist": 8}, "only metric type can be passed when use AutoIndex: invalid parameter"),
        ("IVF_FLAT", {"nlits": 8}, "nlits is no parameter of any index type, did you mean nlist?"),
        ("IVF_FLAT", {"dim": 7}, "dimension mismatch, dimension in schema: 32, dimension: 7"),
        ("GPU_CAGRA", {}, "invalid parameter[expected=valid index][actual=invalid index type: GPU_CAGRA]"),
        ("NO_INDEX", {}, "[actual=invalid index type: NO_INDEX]"),
        ("HYBRID", {}, "[actual=invalid index type: HYBRID]"),
        ("INVERTED", {}, "data type FloatVector can't build with this index INVERTED"),
        ("DISKANN", {"mmap.enabled": True}, "index type DISKANN does not support mmap"),
        ("HNSW", {"mmap.enabled": "maybe"}, "invalid mmap.enabled value: maybe, expected: true, false"),
        (
            "HNSW",
            {"indexoffsetcache.enabled": True},
            "only bitmap index support indexoffsetcache.enabled now",
        ),
    ],
)
def test_wrong_parameters_are_refused_in_milvus_words(
    client: MilvusClient, index_type: str, params: dict[str, Any], message: str
) -> None:
    error = refused(client, "float", index_type, params=params)
    assert error.code == 1100
    assert message in error.message


@pytest.mark.parametrize(
    ("field", "index_type", "metric", "message"),
    [
        ("float", "HNSW", "HAMMING", "float vector index does not support metric type: HAMMING"),
        ("float", "HNSW", "cosine", "float vector index does not support metric type: cosine"),
        ("int8", "HNSW", "JACCARD", "int vector index does not support metric type: JACCARD"),
        ("bits", "BIN_FLAT", "L2", "binary vector index does not support metric type: L2"),
        ("bits", "BIN_IVF_FLAT", "IP", "not found or not supported, supported: ["),
        ("bits", "BIN_IVF_FLAT", "SUBSTRUCTURE", "metric type SUBSTRUCTURE not found or not supported"),
        ("sparse", "SPARSE_WAND", "L2", "only IP&BM25 is the supported metric type for sparse index"),
        ("sparse", "SPARSE_WAND", "BM25", "only BM25 Function output field support BM25 metric type"),
    ],
)
def test_metrics_fit_the_vectors(
    client: MilvusClient, field: str, index_type: str, metric: str, message: str
) -> None:
    error = refused(client, field, index_type, metric_type=metric)
    assert error.code == 1100
    assert message in error.message


@pytest.mark.parametrize(
    ("index_type", "fields", "message"),
    [
        (
            "INVERTED",
            "flag tiny number real text tags points",
            "INVERTED are not supported on Geometry field",
        ),
        ("BITMAP", "flag tiny number text tags", "bitmap index are only supported on bool, int, string"),
        ("STL_SORT", "tiny number real text moment", "STL_SORT are only supported on numeric"),
        ("TRIE", "text", "TRIE are only supported on varchar field"),
        ("Trie", "text", "TRIE are only supported on varchar field"),
        ("RTREE", "place", "RTREE index can only be built on geometry field"),
        ("AUTOINDEX", "flag tiny number real text tags points place moment", ""),
        ("", "flag tiny number real text tags points place moment", ""),
        ("HNSW", "", "index HNSW only supports vector data type"),
    ],
)
def test_scalar_types_fit_their_fields(
    client: MilvusClient, index_type: str, fields: str, message: str
) -> None:
    good = fields.split()
    for field in good:
        assert described(client, field, index_type)["index_type"] == (index_type or "AUTOINDEX")
    if message:
        wrong = "place" if "place" not in good else "real"
        error = refused(client, wrong, index_type)
        assert error.code == 1100
        assert message in error.message


def test_a_metric_of_a_scalar_index_is_shown_and_says_nothing(client: MilvusClient) -> None:
    assert described(client, "number", "STL_SORT", metric_type="COSINE")["metric_type"] == "COSINE"


def test_a_bitmap_of_the_primary_key_is_refused(client: MilvusClient) -> None:
    assert "create bitmap index on primary key not supported" in refused(client, "id", "BITMAP").message


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({}, 1101, "Ngram index must specify both min_gram and max_gram: missing required parameters"),
        ({"min_gram": 2}, 1101, "Ngram index must specify both min_gram and max_gram"),
        ({"min_gram": 5, "max_gram": 3}, 1100, "invalid min_gram or max_gram value for Ngram index"),
        ({"min_gram": 0, "max_gram": 3}, 1100, "min_gram: 0, max_gram: 3"),
        ({"min_gram": 2.5, "max_gram": 3}, 1100, "min_gram for Ngram index must be an integer, got: 2.5"),
    ],
)
def test_wrong_grams_are_refused(
    client: MilvusClient, params: dict[str, Any], code: int, message: str
) -> None:
    error = refused(client, "text", "NGRAM", params=params)
    assert error.code == code
    assert message in error.message


def test_grams_round_trip(client: MilvusClient) -> None:
    found = described(client, "text", "NGRAM", params={"min_gram": 2, "max_gram": 1_000_000})
    assert (found["min_gram"], found["max_gram"]) == ("2", "1000000")


def test_a_json_field_has_an_index_for_each_path(client: MilvusClient) -> None:
    casts = ("BOOL", "DOUBLE", "VARCHAR", "ARRAY_BOOL", "ARRAY_DOUBLE", "ARRAY_VARCHAR", "JSON")
    for number, cast in enumerate(casts):
        params = {"json_path": f"document['a'][{number}]", "json_cast_type": cast}
        create(client, "document", "INVERTED", f"path{number}", params=params)
        found = client.describe_index("c", f"path{number}")
        assert (found["json_path"], found["json_cast_type"]) == (params["json_path"], cast)
    assert sorted(client.list_indexes("c", field_name="document")) == [f"path{i}" for i in range(len(casts))]
    with pytest.raises(MilvusException, match="creating multiple indexes on same field is not supported"):
        create(client, "document", "INVERTED", "other", params=params)
    for number in range(len(casts)):
        client.drop_index("c", f"path{number}")
    same = {"json_path": """document["a"]['b']""", "json_cast_type": "VARCHAR"}
    create(client, "document", "INVERTED", params=same)
    create(client, "document", "INVERTED", params=same)
    assert client.list_indexes("c") == ["document/a/b"]
    with pytest.raises(MilvusException, match="at most one distinct index is allowed per field"):
        create(client, "document", "INVERTED", params={**same, "json_cast_type": "JSON"})
    client.drop_index("c", "document/a/b")
    with pytest.raises(MilvusException, match="cannot parse expression"):
        create(client, "document", "INVERTED", params={**same, "json_path": "document['a"})
    with pytest.raises(MilvusException, match="cannot parse expression"):
        create(client, "document", "INVERTED", params={**same, "json_path": "other['a']"})


@pytest.mark.parametrize(
    ("index_type", "params", "code", "message"),
    [
        ("INVERTED", {"json_path": "document['a']"}, 1101, "json index must specify cast type"),
        (
            "INVERTED",
            {"json_cast_type": "INT", "json_path": "document['a']"},
            1100,
            "json_cast_type INT is not supported",
        ),
        (
            "BITMAP",
            {"json_cast_type": "DOUBLE"},
            1100,
            "json_cast_type DOUBLE is not supported for BITMAP index",
        ),
        ("NGRAM", {"json_cast_type": "double"}, 1100, "only supports VARCHAR cast type, got: DOUBLE"),
        ("NGRAM", {}, 1101, "JSON field with ngram index must specify json_cast_type"),
        (
            "INVERTED",
            {"json_cast_type": "DOUBLE", "json_cast_function": "X"},
            1100,
            "json_cast_function X is not supported",
        ),
        (
            "INVERTED",
            {"json_cast_type": "VARCHAR", "json_cast_function": "STRING_TO_DOUBLE"},
            1100,
            "json_cast_function STRING_TO_DOUBLE is not supported for json_cast_type VARCHAR",
        ),
        ("TRIE", {"json_cast_type": "VARCHAR"}, 1100, "TRIE are only supported on varchar field"),
    ],
)
def test_wrong_json_parameters_are_refused(
    client: MilvusClient, index_type: str, params: dict[str, Any], code: int, message: str
) -> None:
    error = refused(client, "document", index_type, params=params)
    assert error.code == code
    assert message in error.message


def test_json_indexes_of_all_kinds(client: MilvusClient) -> None:
    path = {"json_path": "document['a']['b']", "json_cast_type": "VARCHAR"}
    for index_type in ("INVERTED", "BITMAP", "STL_SORT", "AUTOINDEX"):
        assert described(client, "document", index_type, params=path)["index_type"] == index_type
    grams = {**path, "min_gram": 2, "max_gram": 3}
    assert described(client, "document", "NGRAM", params=grams)["index_type"] == "NGRAM"
    whole = {"json_path": "document", "json_cast_type": "JSON"}
    assert described(client, "document", "INVERTED", params=whole)["json_path"] == "document"
    numbers = {
        "json_path": "document['n']",
        "json_cast_type": "DOUBLE",
        "json_cast_function": "STRING_TO_DOUBLE",
    }
    assert (
        described(client, "document", "INVERTED", params=numbers)["json_cast_function"] == "STRING_TO_DOUBLE"
    )


def test_keys_of_dynamic_rows_are_indexed_by_their_names(client: MilvusClient) -> None:
    found = described(
        client, "color", "INVERTED", params={"json_path": "color['shade']", "json_cast_type": "VARCHAR"}
    )
    assert (found["field_name"], found["json_path"]) == ("color", "color['shade']")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "1a",
            "Invalid index name: 1a. The first character of a index name must be an underscore or letter.",
        ),
        ("a b", "Invalid index name: a b. Index name can only contain numbers, letters, and underscores."),
        ("ä", "The first character of a index name must be an underscore or letter."),
        ("a" * 256, "The length of a index name must be less than 255 characters."),
    ],
)
def test_names_are_checked(client: MilvusClient, name: str, message: str) -> None:
    with pytest.raises(MilvusException) as raised:
        create(client, "float", "FLAT", name)
    assert raised.value.code == 1100
    assert message in raised.value.message


def test_the_same_index_again_is_fine_and_another_is_not(client: MilvusClient) -> None:
    create(client, "float", "HNSW", metric_type="L2", params={"M": 8, "efConstruction": 64})
    create(client, "float", "HNSW", metric_type="L2", params={"efConstruction": 64, "M": 8})
    assert client.list_indexes("c") == ["float"]
    cases: tuple[tuple[str, str, dict[str, Any], str], ...] = (
        ("float", "HNSW", {"M": 9, "efConstruction": 64}, "at most one distinct index is allowed per field"),
        ("", "IVF_FLAT", {}, "at most one distinct index is allowed per field"),
        (
            "other",
            "HNSW",
            {"M": 8, "efConstruction": 64},
            "creating multiple indexes on same field is not supported",
        ),
    )
    for name, index_type, params, message in cases:
        with pytest.raises(MilvusException, match=f"CreateIndex failed: {message}"):
            create(client, "float", index_type, name, metric_type="L2", params=params)
    with pytest.raises(MilvusException, match="at most one distinct index is allowed per field"):
        create(client, "half", "HNSW", "float")
    client.drop_index("c", "float")


def test_an_index_on_no_field_is_refused(client: MilvusClient) -> None:
    with pytest.raises(MilvusException, match=r"json index must specify cast type"):
        create(client, "nothing", "INVERTED")


def test_hints_are_set_and_taken_back(client: MilvusClient) -> None:
    create(client, "float", "HNSW", "one", params={"mmap.enabled": True, "M": 8})
    assert client.describe_index("c", "one")["mmap.enabled"] == "True"
    client.alter_index_properties("c", "one", {"mmap.enabled": False})
    assert client.describe_index("c", "one")["mmap.enabled"] == "False"
    create(client, "float", "HNSW", "one", params={"M": 8})
    client.drop_index_properties("c", "one", ["mmap.enabled"])
    found = client.describe_index("c", "one")
    assert "mmap.enabled" not in found
    assert (found["M"], found["index_type"]) == ("8", "HNSW")
    cases = (
        ("one", {"M": 9}, 1100, "M is not a configable index property"),
        (
            "one",
            {"mmap.enabled": "new_value"},
            1100,
            "invalid mmap.enabled value: new_value, expected: true, false",
        ),
        ("two", {"mmap.enabled": True}, 700, "index not found"),
    )
    for name, properties, code, message in cases:
        with pytest.raises(MilvusException) as raised:
            client.alter_index_properties("c", name, properties)
        assert raised.value.code == code
        assert message in raised.value.message
    client.drop_index("c", "one")


# -- parameters of searches -------------------------------------------------------------------------------------------


def index(index_type: str, kind: str) -> IndexSpec:
    return IndexSpec("i", 1, kind, "L2", (), {"index_type": index_type})


@pytest.mark.parametrize(
    ("index_type", "kind", "given", "told"),
    [
        ("IVF_FLAT", "ivf_flat", {"nprobe": 16}, {"nprobe": 16}),
        ("IVF_FLAT", "ivf_flat", {"nprobe": "16"}, {"nprobe": 16}),
        (
            "IVF_RABITQ",
            "ivf_rabitq",
            {"nprobe": 8, "rbq_query_bits": 6, "refine_k": 2},
            {"nprobe": 8, "refine_k": 2},
        ),
        ("SCANN", "ivf_pq", {"nprobe": 8, "reorder_k": 40}, {"nprobe": 8, "refine_k": 4.0}),
        ("DISKANN", "ivf_rabitq", {"search_list": 100}, {"refine_k": 10.0}),
        ("DISKANN", "ivf_rabitq", {"search_list_size": 100}, {"refine_k": 10.0}),
        # A longer list finds no less in Milvus, so a short one does not say that less is read than is enough.
        ("DISKANN", "ivf_rabitq", {"search_list": 99}, {}),
        ("HNSW", "hnsw", {"ef": 64}, {"ef": 64}),
        ("HNSW_PQ", "hnsw_sq", {"ef": 1, "refine_k": 2.5}, {"ef": 1, "refine_k": 2.5}),
        ("AUTOINDEX", "ivf_rabitq", {"level": 2, "nprobe": 10}, {"nprobe": 10}),
        ("AUTOINDEX", "ivf_rabitq", {"ef": 64}, {}),
        ("FLAT", "flat", {"nprobe": 10}, {}),
        ("SPARSE_WAND", "sparse_inverted", {"drop_ratio_search": 0.2}, {"drop_ratio_search": 0.2}),
        ("MINHASH_LSH", "minhash_lsh", {"mh_search_with_jaccard": "True"}, {"mh_search_with_jaccard": True}),
    ],
)
def test_searches_are_told_what_amounts_to_what_is_asked(
    index_type: str, kind: str, given: dict[str, Any], told: dict[str, Any]
) -> None:
    assert search_params(index(index_type, kind), given, 10) == told


@pytest.mark.parametrize(
    ("index_type", "kind", "given", "message"),
    [
        ("HNSW", "hnsw", {"ef": 1}, "ef(1) should be larger than k(10)"),
        ("HNSW", "hnsw", {"ef": -1}, "param 'ef' (-1) should be in range [1, 2147483647]"),
        ("HNSW", "hnsw", {"ef": 32.0}, "Type conflict in json: param 'ef' (32.0) should be integer"),
        ("HNSW", "hnsw", {"ef": True}, "Type conflict in json: param 'ef' (true) should be integer"),
        ("HNSW", "hnsw", {"ef": None}, "Type conflict in json: param 'ef' (null) should be integer"),
        ("HNSW", "hnsw", {"ef": [32]}, "param 'ef' ([32]) should be integer"),
        (
            "HNSW_SQ",
            "hnsw_sq",
            {"refine_k": 0},
            "Out of range in json: param 'refine_k' (0) should be in range",
        ),
        ("HNSW_SQ", "hnsw_sq", {"refine_k": ""}, "invalid float value"),
        ("HNSW_SQ", "hnsw_sq", {"refine_k": True}, "param 'refine_k' (true) should be a number"),
        ("DISKANN", "ivf_rabitq", {"search_list_size": 1}, "search_list_size(1) should be larger than k(10)"),
        ("FAISS", "ivf_flat", {"nprobe": "invalid"}, "expects a number"),
        ("IVF_FLAT", "ivf_flat", {"nprobe": 65537}, "should be in range [1, 65536]"),
        (
            "SPARSE_WAND",
            "sparse_inverted",
            {"drop_ratio_search": 1},
            "should be in range [0.000000, 1.000000)",
        ),
    ],
)
def test_wrong_search_parameters_are_refused(
    index_type: str, kind: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(MilvusError) as raised:
        search_params(index(index_type, kind), given, 10)
    assert raised.value.row.code == 65535
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("name", "kind", "given", "told"),
    [
        ("IVF64,Flat", "ivf_flat", {"nprobe": "8"}, {"nprobe": 8}),
        ("IVF64,PQ8x4,RFlat", "ivf_pq", {"nprobe": 8, "k_factor": 4}, {"nprobe": 8, "refine_k": 4}),
        ("HNSW16,Flat", "hnsw", {"efSearch": 64}, {"ef": 64}),
        ("Flat", "flat", {"efSearch": 64}, "faiss search param 'efSearch' is not supported by index Flat"),
        ("HNSW16,Flat", "hnsw", {"nprobe": 8}, "'nprobe' is not supported by index HNSW16,Flat"),
        ("IVF64,Flat", "ivf_flat", {"k_factor": 4}, "'k_factor' is not supported by index IVF64,Flat"),
    ],
)
def test_searches_tune_only_what_an_index_of_faiss_has(
    name: str, kind: str, given: dict[str, Any], told: dict[str, Any] | str
) -> None:
    spec = IndexSpec("i", 1, kind, "L2", (), {"index_type": "FAISS", "faiss_index_name": name})
    if isinstance(told, str):
        with pytest.raises(MilvusError, match=told):
            search_params(spec, given, 10)
    else:
        assert search_params(spec, given, 10) == told


def test_an_unknown_search_parameter_is_refused() -> None:
    with pytest.raises(MilvusError, match="nprob is no parameter of any index type, did you mean nprobe"):
        search_params(None, {"nprob": 1}, 10)


# -- strings of faiss --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "index_type", "params"),
    [
        ("Flat", "FLAT", {}),
        ("IVF64,Flat", "IVF_FLAT", {"nlist": 64}),
        ("IVF64,SQ8", "IVF_SQ8", {"nlist": 64}),
        ("IVF99999999999,Flat", "IVF_FLAT", {"nlist": 65536}),
        ("IVF64,PQ8x4,RFlat", "IVF_PQ", {"nlist": 64, "m": 8, "nbits": 4}),
        ("HNSW16,Flat", "HNSW", {"M": 16}),
        ("HNSW16,SQ8", "HNSW_SQ", {"M": 16}),
        ("OPQ8,PQ8", "IVF_RABITQ", {}),
    ],
)
def test_factory_strings_amount_to_kinds_of_ours(name: str, index_type: str, params: dict[str, Any]) -> None:
    assert described_by(FLOATS, name) == (index_type, params)


@pytest.mark.parametrize(
    "name",
    ["NoIndex", "IVF,Flat", "PQ7", "PQ0", "$(x)", "PQ1x24", "LSH99999999999", "IMI2x14,Flat"],
)
def test_factory_strings_that_faiss_does_not_understand_are_refused(name: str) -> None:
    with pytest.raises(MilvusError, match="invalid faiss_index_name"):
        described_by(FLOATS, name)


def test_an_index_of_faiss_is_described_by_a_string() -> None:
    with pytest.raises(MilvusError, match="faiss_index_name is required"):
        described_by(FLOATS, "")


# -- what serves what -------------------------------------------------------------------------------------------------


def test_the_table_of_index_types_is_that_of_the_code() -> None:
    shown = ["type\tvectors\tserved by\tnote"]
    for name, kind in VECTOR_TYPES.items():
        vectors = " ".join(sorted(one.value for one in kind.fields))
        shown.append(f"{name}\t{vectors}\t{kind.ours}\t{kind.note}")
    table = Path(__file__).parents[2] / "docs" / "milvus_index_types.tsv"
    assert table.read_text().splitlines() == shown


def test_bm25_has_an_index_of_its_own(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=99, enable_analyzer=True)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function("bm25", FunctionType.BM25, input_field_names=["text"], output_field_names=["sparse"])
    )
    client.create_collection("bm25", schema=schema)
    params = client.prepare_index_params()
    params.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    with pytest.raises(
        MilvusException, match="metric type of BM25 function output field must be BM25, got IP"
    ):
        client.create_index("bm25", params)
    for given in ({}, {"bm25_k1": 1.5, "bm25_b": 0.5, "inverted_index_algo": "DAAT_WAND"}):
        params = client.prepare_index_params()
        params.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params=given)
        client.create_index("bm25", params, sync=False)
        shown = client.describe_index("bm25", "sparse")
        assert {name: shown[name] for name in given} == {name: str(one) for name, one in given.items()}
        client.drop_index("bm25", "sparse")
    params = client.prepare_index_params()
    params.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params={"bm25_k1": 4})
    with pytest.raises(MilvusException, match=r"param 'bm25_k1' \(4\) should be in range"):
        client.create_index("bm25", params)
    params = client.prepare_index_params()
    params.add_index("sparse")
    client.create_index("bm25", params)
    assert client.describe_index("bm25", "sparse")["metric_type"] == "BM25"
    client.load_collection("bm25")
    client.insert("bm25", [{"id": 1, "text": "a red fox"}, {"id": 2, "text": "a blue whale"}])
    hits = client.search("bm25", ["whale"], anns_field="sparse", limit=1, consistency_level="Strong")
    assert hits[0][0]["id"] == 2
    with pytest.raises(MilvusException, match="metric type not match"):
        client.search("bm25", ["whale"], anns_field="sparse", search_params={"metric_type": "IP"})


def test_cast_types_are_taken_in_any_case_and_described_as_given(client: MilvusClient) -> None:
    for cast in ("Double", "varchar", "json", "Bool"):
        params = {"json_path": f"document['{cast}']", "json_cast_type": cast}
        create(client, "document", "INVERTED", f"by_{cast}", params=params)
        assert client.describe_index("c", f"by_{cast}")["json_cast_type"] == cast
        client.drop_index("c", f"by_{cast}")


def test_parameters_of_searches_are_described_and_tune_nothing(client: MilvusClient) -> None:
    found = described(
        client, "float", "HNSW", metric_type="L2", params={"M": 8, "efConstruction": 64, "ef": 30}
    )
    assert (found["M"], found["ef"]) == ("8", "30")
    with pytest.raises(MilvusException, match="eff is no parameter of any index type"):
        create(client, "float", "HNSW", metric_type="L2", params={"eff": 30})
