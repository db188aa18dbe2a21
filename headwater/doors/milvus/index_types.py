"""Milvus's index types: what each takes, over which fields, and which of our kinds serves it.

`docs/milvus_index_types.tsv` is this table; names, ranges and defaults are Milvus 3.0's.
"""

from __future__ import annotations

from typing import NamedTuple

from headwater.engine.policies import POLICY_PROPERTY
from headwater.types import DataType

__all__ = [
    "BUILD_PARAMS",
    "DATA_TYPE_NAMES",
    "GPU_TYPES",
    "HINTS",
    "LIST_METRICS",
    "METRICS",
    "POSTING_TYPES",
    "SCALAR_TYPES",
    "SEARCH_PARAMS",
    "VECTOR_TYPES",
    "Number",
    "VectorType",
]

_MOST = 2_147_483_647
_LARGEST = 340282346638528859811704183484516925440.0


class Number(NamedTuple):
    """A number that a parameter may be.

    Attributes:
        low: least.
        high: greatest.
        whole: whether it must be an integer.
        open_end: whether it must be less than `high`.
    """

    low: float
    high: float
    whole: bool = True
    open_end: bool = False

    @property
    def bounds(self) -> str:
        """As knowhere prints them."""
        if self.whole:
            return f"[{self.low:.0f}, {self.high:.0f}]"
        return f"[{self.low:.6f}, {self.high:.6f}{')' if self.open_end else ']'}"


Param = Number | frozenset[str] | type[bool] | type[str]
"""What a parameter may be: a number, one of some words, yes or no, any text."""

_REFINE_TYPES = ("sq6", "sq8", "fp16", "bf16", "fp32", "flat")
_NLIST = {"nlist": Number(1, 65_536)}
_GRAPH = {"M": Number(2, 2048), "efConstruction": Number(1, _MOST)}
_REFINE: dict[str, Param] = {"refine": bool, "refine_type": frozenset(_REFINE_TYPES)}
_CODES = {"m": Number(1, 65_536), "nbits": Number(1, 24)}
_DISK: dict[str, Param] = dict.fromkeys(
    (
        "search_list_size",
        "max_degree",
        "pq_code_budget_gb_ratio",
        "search_cache_budget_gb_ratio",
        "beamwidth",
        "beam_width_ratio",
        "inline_pq",
        "num_entry_points",
        "build_dram_budget_gb",
        "disk_pq_code_budget_gb_ratio",
        "pq_code_budget_gb",
        "search_dram_budget_gb",
        "indexing_list_size",
        "num_threads",
    ),
    str,
)
_SPARSE: dict[str, Param] = {
    "inverted_index_algo": frozenset(
        (
            *("TAAT_NAIVE", "DAAT_WAND", "DAAT_MAXSCORE"),
            *("BLOCK_MAX_WAND", "BLOCK_MAX_MAXSCORE", "SINDI"),
        )
    ),
    "drop_ratio_build": Number(0, 1, whole=False, open_end=True),
    "sindi_window_size": Number(1024, 65_535),
    **dict.fromkeys(("quant_type", "block_max_block_size", "inverted_index_codec"), str),
    "bm25_k1": Number(0, 3, whole=False),
    "bm25_b": Number(0, 1, whole=False),
    "bm25_avgdl": Number(0, _LARGEST, whole=False),
}
_MINHASH: dict[str, Param] = {
    "mh_element_bit_width": Number(8, 64),
    "mh_lsh_band": Number(1, _MOST),
    "mh_lsh_code_in_mem": str,
    "mh_lsh_shared_bloom_filter": bool,
    "mh_lsh_bloom_false_positive_prob": Number(0, 1, whole=False),
    "with_raw_data": bool,
}


class VectorType(NamedTuple):
    """An index type of vectors.

    Attributes:
        ours: the index type of ours that serves it.
        fields: the kinds of vectors that it is for.
        params: what it takes when it is built.
        effort: the search parameter that says how far to look, which ours is told under its own name.
        at_least_k: whether that must not be less than the number of hits.
        note: why ours serves it, where it is not of the same name.
    """

    ours: str
    fields: frozenset[DataType]
    params: dict[str, Param]
    effort: str = ""
    at_least_k: bool = False
    note: str = ""


_FLOATS = frozenset((DataType.FLOAT_VECTOR, DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR))
_DENSE = _FLOATS | {DataType.INT8_VECTOR}
_BITS = frozenset((DataType.BINARY_VECTOR,))
_SPARSE_FIELDS = frozenset((DataType.SPARSE_FLOAT_VECTOR,))
_HNSW_CODES = "8-bit codes in the graph and exact distances after it: more of the neighbours, at more memory"
_LISTS = "codes of two bits a dimension choose, and the vectors on disk decide: a search reads only those"

VECTOR_TYPES: dict[str, VectorType] = {
    "FLAT": VectorType("FLAT", _FLOATS, {}),
    "IVF_FLAT": VectorType("IVF_FLAT", _FLOATS, {**_NLIST}, "nprobe"),
    "IVF_SQ8": VectorType("IVF_SQ8", _FLOATS, {**_NLIST}, "nprobe"),
    "IVF_PQ": VectorType("IVF_PQ", _FLOATS, {**_NLIST, **_CODES}, "nprobe"),
    "IVF_RABITQ": VectorType("IVF_RABITQ", _FLOATS, {**_NLIST, **_REFINE}, "nprobe"),
    "SCANN": VectorType(
        "IVF_PQ",
        _FLOATS,
        {**_NLIST, "with_raw_data": bool, "sub_dim": Number(1, 65_536)},
        "nprobe",
        note="4-bit codes scanned in registers, then exact distances: what ScaNN does",
    ),
    "HNSW": VectorType("HNSW", _DENSE | _BITS, {**_GRAPH}, "ef", True),
    "HNSW_SQ": VectorType(
        "HNSW_SQ",
        _DENSE,
        {**_GRAPH, "sq_type": frozenset(("SQ4U", "SQ6", "SQ8", "BF16", "FP16")), **_REFINE},
        "ef",
        True,
    ),
    "HNSW_PQ": VectorType("HNSW_SQ", _DENSE, {**_GRAPH, **_CODES, **_REFINE}, "ef", note=_HNSW_CODES),
    "HNSW_PRQ": VectorType(
        "HNSW_SQ",
        _DENSE,
        {**_GRAPH, **_CODES, "nrq": Number(1, 16), **_REFINE},
        "ef",
        note=_HNSW_CODES,
    ),
    "DISKANN": VectorType("IVF_RABITQ", _FLOATS, _DISK, "search_list", True, _LISTS),
    "AISAQ": VectorType("IVF_RABITQ", _FLOATS, _DISK, "search_list", True, _LISTS),
    "FAISS": VectorType(
        "IVF_RABITQ",
        frozenset((DataType.FLOAT_VECTOR, DataType.BINARY_VECTOR)),
        {"faiss_index_name": str},
        note="the kind of ours that a factory string describes; codes that none has by two bits a dimension",
    ),
    "BIN_FLAT": VectorType("BIN_FLAT", _BITS, {}),
    "BIN_IVF_FLAT": VectorType("BIN_IVF_FLAT", _BITS, {**_NLIST}, "nprobe"),
    "MINHASH_LSH": VectorType("MINHASH_LSH", _BITS, _MINHASH),
    "SPARSE_INVERTED_INDEX": VectorType("SPARSE_INVERTED_INDEX", _SPARSE_FIELDS, _SPARSE),
    "SPARSE_WAND": VectorType("SPARSE_WAND", _SPARSE_FIELDS, _SPARSE),
}
"""By Milvus's name."""

GPU_TYPES = frozenset(
    ("GPU_CAGRA", "GPU_IVF_FLAT", "GPU_IVF_PQ", "GPU_BRUTE_FORCE", "GPU_VAMANA", "GPU_HNSW")
)
"""Refused in the words of a Milvus that was built without them."""

SCALAR_TYPES = {
    "INVERTED": "INVERTED",
    "BITMAP": "BITMAP",
    "STL_SORT": "STL_SORT",
    "TRIE": "TRIE",
    "Trie": "TRIE",
    "NGRAM": "NGRAM",
    "FMINDEX": "NGRAM",
    "RTREE": "RTREE",
}
"""Index types of other fields, and the ones of ours that serve them."""

LIST_METRICS = (
    *("MAX_SIM_COSINE", "MAX_SIM_IP", "MAX_SIM_L2", "MAX_SIM"),
    *("COSINE", "L2", "IP"),
    *("MAX_SIM_HAMMING", "MAX_SIM_JACCARD", "HAMMING", "JACCARD"),
)
"""Of the vectors of struct arrays: of lists of them, and of each for itself."""

POSTING_TYPES = {"IP": ("fp32", "fp16"), "BM25": ("u32", "u16")}
"""What `quant_type` of a sparse index may be, by its metric: checked only, lists of ours hold numbers as they are."""

METRICS: dict[DataType, tuple[str, ...]] = {
    **dict.fromkeys(_DENSE, ("COSINE", "L2", "IP")),
    DataType.BINARY_VECTOR: ("HAMMING", "JACCARD", "SUBSTRUCTURE", "SUPERSTRUCTURE", "MHJACCARD"),
    DataType.SPARSE_FLOAT_VECTOR: ("IP", "BM25"),
}
"""Of each kind of vector, the default first."""

BUILD_PARAMS = frozenset(name for kind in VECTOR_TYPES.values() for name in kind.params) | {
    *("json_path", "json_cast_type", "json_cast_function", "min_gram", "max_gram"),
    *("bitmap_cardinality_limit", "fm_sa_sample_rate", "fm_block_bytes"),
    *("emb_list_strategy", "emb_list_rerank", "retrieval_ann_ratio"),
    *("muvera_num_projections", "muvera_num_repeats", "muvera_seed", "lemur_hidden_dim"),
}
"""Every parameter that some index type takes. One that another type takes is kept and described, as in Milvus; a name
that none takes is a mistake, and refused."""

HINTS = frozenset(
    (
        *("mmap.enabled", "indexoffsetcache.enabled", "warmup", "evictable", "index_non_encoding"),
        POLICY_PROPERTY,
    )
)
"""Where an index is, and when it comes there."""

SEARCH_PARAMS: dict[str, Param] = {
    "nprobe": Number(1, 65_536),
    "ef": Number(1, _MOST),
    "refine_k": Number(1, _LARGEST, whole=False),
    "reorder_k": Number(1, _MOST),
    "search_list": Number(1, _MOST),
    "search_list_size": Number(1, _MOST),
    "rbq_bits_query": Number(0, 8),
    "rbq_query_bits": Number(0, 8),
    "drop_ratio_search": Number(0, 1, whole=False, open_end=True),
    "dim_max_score_ratio": Number(0.5, 1.3, whole=False),
    "level": Number(1, 10),
    "max_empty_result_buckets": Number(1, 65_536),
    "mh_search_with_jaccard": bool,
    "mh_lsh_batch_search": bool,
    "beamwidth": str,
    "beam_width_ratio": str,
    "min_k": str,
    "max_k": str,
    "retrieve_ann": str,
    "efSearch": Number(1, _MOST),
    "k_factor": Number(1, _LARGEST, whole=False),
}
"""Search parameters of all index types. One of another type than the index's says nothing, as in Milvus."""

DATA_TYPE_NAMES = {
    DataType.BOOL: "Bool",
    DataType.INT8: "Int8",
    DataType.INT16: "Int16",
    DataType.INT32: "Int32",
    DataType.INT64: "Int64",
    DataType.FLOAT: "Float",
    DataType.DOUBLE: "Double",
    DataType.VARCHAR: "VarChar",
    DataType.TEXT: "Text",
    DataType.JSON: "JSON",
    DataType.ARRAY: "Array",
    DataType.STRUCT_ARRAY: "ArrayOfStruct",
    DataType.TIMESTAMPTZ: "Timestamptz",
    DataType.GEOMETRY: "Geometry",
    DataType.FLOAT_VECTOR: "FloatVector",
    DataType.FLOAT16_VECTOR: "Float16Vector",
    DataType.BFLOAT16_VECTOR: "BFloat16Vector",
    DataType.INT8_VECTOR: "Int8Vector",
    DataType.BINARY_VECTOR: "BinaryVector",
    DataType.SPARSE_FLOAT_VECTOR: "SparseFloatVector",
}
"""As Milvus's messages name them."""
