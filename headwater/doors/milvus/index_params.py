"""Indexes as clients ask for them, in our terms; every check is Milvus's, in its words."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from headwater.doors.milvus.codes import INVALID_PARAMETER, UNEXPECTED, Code, MilvusError, invalid, unexpected
from headwater.doors.milvus.faiss_names import check_tuned, described_by
from headwater.doors.milvus.index_types import (
    BUILD_PARAMS,
    DATA_TYPE_NAMES,
    GPU_TYPES,
    HINTS,
    LIST_METRICS,
    METRICS,
    POSTING_TYPES,
    SCALAR_TYPES,
    SEARCH_PARAMS,
    VECTOR_TYPES,
    Number,
    VectorType,
)
from headwater.doors.milvus.scalar_index_params import AUTOINDEX, SCAN, scalar_declaration
from headwater.doors.milvus.tier_rules import check_evictable, check_policy
from headwater.engine import CollectionAt
from headwater.engine.policies import POLICY_PROPERTY
from headwater.lake import IndexSpec
from headwater.query.collapse import SCOPE
from headwater.schema import Field, FunctionType, Schema
from headwater.types import DataType

__all__ = [
    "Declaration",
    "check_hints",
    "declaration",
    "flattened",
    "list_declaration",
    "search_params",
    "tuned",
]

_MMAP_TYPES = frozenset(("INVERTED", "BITMAP", "TRIE", "Trie", "NGRAM", AUTOINDEX, *VECTOR_TYPES)) - {
    "DISKANN",
    "AISAQ",
}
_WARMUPS = ("sync", "async", "disable")
_GPU_SEARCHED = frozenset(("itopk_size", "search_width", "min_iterations", "max_iterations", "team_size"))
_SEARCHED = frozenset(SEARCH_PARAMS) | BUILD_PARAMS | _GPU_SEARCHED | {"index_type", "dim"}
"""Names that a search may give; those of how an index is built, or of types that none has, have nothing to tune."""

_BUILT = frozenset(SEARCH_PARAMS) | BUILD_PARAMS | HINTS | {"metric_type", "dim", "max_length"}
"""Names that a declaration may give; those of how an index is searched are told again, and have nothing to tune."""

_GENERAL = ("metric_type", "radius", "range_filter", "analyzer_name", SCOPE)
_SAME = {
    "MAX_SIM": "MAX_SIM_COSINE",
    "search_list_size": "search_list",
    "efSearch": "ef",
    "k_factor": "refine_k",
}


_LEAST_READ = 10.0
"""Vectors that a `search_list` has read for each hit, at least, before it says how far a search goes. A longer list
finds more in Milvus; lists of one to five times the hits found .67 to .93 of them by one-bit codes, where what is
measured to be enough found .93 to 1."""


class Declaration(NamedTuple):
    """A checked declaration of an index.

    Attributes:
        index_type: of ours; SCAN for one that is described and needs no files.
        metric_type: of vectors; None for others.
        params: of ours.
        declared: what clients are shown.
    """

    index_type: str
    metric_type: str | None
    params: dict[str, Any]
    declared: dict[str, str]


def flattened(pairs: Iterable[Any]) -> dict[str, str]:
    """The key-value pairs of a request as one mapping of texts, what is inside `params` among them.

    Raises:
        MilvusError: 1100, a name is there twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        if pair.key in found:
            raise invalid(f"duplicated index param (key={pair.key}) (value={pair.value}) found")
        found[pair.key] = pair.value
    inner = found.pop("params", "")
    if inner:
        try:
            given = json.loads(inner)
        except ValueError as error:
            raise invalid(f"params is not a JSON object: {inner}") from error
        if not isinstance(given, dict):
            raise invalid(f"params is not a JSON object: {inner}")
        found |= {name: one if isinstance(one, str) else json.dumps(one) for name, one in given.items()}
    return found


def declaration(schema: Schema, field: Field, pairs: Iterable[Any]) -> Declaration:
    """What a client asks for on a field.

    Raises:
        MilvusError: 1100 or 1101.
    """
    asked, given, shown = _asked(pairs)
    if not field.type.data_type.value.endswith("_vector"):
        kind, params = scalar_declaration(schema, field, asked, given)
        return Declaration(kind, None, params, {**shown, "index_type": asked or AUTOINDEX})
    kind = field.type.data_type
    _check_dim(field, given)
    if asked in ("", AUTOINDEX):
        extra = set(given) - {"metric_type"}
        if extra:
            raise invalid("only metric type can be passed when use AutoIndex")
    metric = _metric(schema, field, given.pop("metric_type", None), asked)
    shown = {**shown, "index_type": asked or AUTOINDEX, "metric_type": metric}
    if asked in ("", AUTOINDEX):
        return Declaration(AUTOINDEX, metric, {}, shown)
    chosen = VECTOR_TYPES.get(asked)
    if chosen is None or kind not in chosen.fields:
        raise invalid(
            f"data type {DATA_TYPE_NAMES[kind]} can't build with this index {asked}",
        )
    values = _checked(asked, chosen, given)
    return Declaration(*_ours(asked, chosen, field, metric, values), shown)


def list_declaration(member: Field, pairs: Iterable[Any]) -> Declaration:
    """What a client asks for on a member of a struct array: vectors are indexed, others are described.

    Raises:
        MilvusError: 1100.
    """
    asked, given, shown = _asked(pairs)
    kind = member.type.data_type
    if not kind.dense_vector:
        if asked in VECTOR_TYPES:
            raise invalid(f"index {asked} only supports vector data type")
        if asked == "FMINDEX":
            raise invalid("FM-index can only be created on VARCHAR field")
        return Declaration(SCAN, None, {}, {**shown, "index_type": asked or AUTOINDEX})
    bits = kind is DataType.BINARY_VECTOR
    metric = given.pop("metric_type", "") or ("MAX_SIM_HAMMING" if bits else "MAX_SIM_COSINE")
    if metric not in LIST_METRICS or bits != metric.endswith(("HAMMING", "JACCARD")):
        raise invalid(
            f"metric type {metric} not found or not supported, supported: [{' '.join(LIST_METRICS)}]"
        )
    shown = {**shown, "index_type": asked or AUTOINDEX, "metric_type": metric}
    metric = _SAME.get(metric, metric)
    if asked in ("", AUTOINDEX):
        return Declaration(AUTOINDEX, metric, {}, shown)
    chosen = VECTOR_TYPES.get(asked)
    if chosen is None or kind not in chosen.fields:
        raise invalid(f"data type ArrayOfVector can't build with this index {asked}")
    ours = _ours(asked, chosen, member, metric, _checked(asked, chosen, given))
    if ours[0] == "MINHASH_LSH":
        return Declaration(SCAN, None, {}, shown)
    return Declaration(*ours, shown)


def _asked(pairs: Iterable[Any]) -> tuple[str, dict[str, str], dict[str, str]]:
    """The index type, the parameters without hints, and all as they were given.

    Parameters that no index type has are described again, as in Milvus; those that seem misspelt are refused.
    """
    pairs = list(pairs)
    given = flattened(pairs)
    asked = given.pop("index_type", "")
    _known_type(asked)
    for name in given:
        if name not in _BUILT and difflib.get_close_matches(name, _BUILT, n=1):
            _known_param(name, _BUILT)
    check_hints(asked or AUTOINDEX, given)
    without = {name: value for name, value in given.items() if name not in HINTS}
    if asked == AUTOINDEX and len(without) != len(given):
        without = given
    return asked, without, {pair.key: pair.value for pair in pairs}


def _known_type(asked: str) -> None:
    known = (*VECTOR_TYPES, *SCALAR_TYPES, AUTOINDEX)
    if asked and (asked not in known or asked in GPU_TYPES):
        raise MilvusError(INVALID_PARAMETER, expected="valid index", actual=f"invalid index type: {asked}")


def _known_param(name: str, known: frozenset[str] | set[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise invalid(f"{name} is no parameter of any index type{hint}")


def check_hints(index_type: str, given: Mapping[str, str]) -> None:
    """Check the hints on where an index is to be.

    Args:
        index_type: Milvus's.
        given: the hints, among other parameters.

    Raises:
        MilvusError: 1100, a value is not one that the hint may have.
    """
    for name, what in (
        ("mmap.enabled", "invalid mmap index params"),
        ("indexoffsetcache.enabled", "invalid offset cache index params"),
    ):
        value = given.get(name)
        if value is None:
            continue
        if value.lower() not in ("true", "false", "1", "0", "t", "f"):
            raise invalid(f"{what}: invalid {name} value: {value}, expected: true, false")
        enabled = value.lower() in ("true", "1", "t")
        if enabled and name == "mmap.enabled" and index_type not in _MMAP_TYPES:
            raise invalid(f"{what}: index type {index_type} does not support mmap")
        if enabled and name != "mmap.enabled" and index_type != "BITMAP":
            raise invalid(f"{what}: only bitmap index support {name} now")
    if POLICY_PROPERTY in given:
        check_policy(POLICY_PROPERTY, given[POLICY_PROPERTY])
        if "mmap.enabled" in given:
            raise invalid(f"mmap.enabled and {POLICY_PROPERTY} say the same thing: give one of them")
    warmup = given.get("warmup")
    if warmup is not None and warmup not in _WARMUPS:
        raise invalid(f"invalid warmup policy: {warmup}, must be one of [{', '.join(_WARMUPS)}]")
    if "evictable" in given:
        check_evictable("evictable", given["evictable"])


def _check_dim(field: Field, given: dict[str, str]) -> None:
    dim = given.pop("dim", None)
    if dim is not None and dim != str(field.type.dim):
        raise invalid(
            f"dimension mismatch, dimension in schema: {field.type.dim}, dimension: {dim}",
            expected="valid index params",
            actual="invalid index params",
        )
    given.pop("max_length", None)


_UNSERVED = ("SUBSTRUCTURE", "SUPERSTRUCTURE")
"""Metrics that there are, and no index serves."""


def _metric(schema: Schema, field: Field, asked: str | None, index_type: str) -> str:
    kind, function = field.type.data_type, schema.outputs.get(field.name)
    filled_by = None if function is None else function.type
    known = METRICS[kind]
    if filled_by is FunctionType.BM25:
        if asked not in (None, "", "BM25"):
            raise invalid(f"index metric type of BM25 function output field must be BM25, got {asked}")
        return "BM25"
    if not asked:
        lsh = index_type == "MINHASH_LSH" or filled_by is FunctionType.MINHASH
        return "MHJACCARD" if lsh and kind is DataType.BINARY_VECTOR else known[0]
    if asked not in known:
        words = {
            DataType.SPARSE_FLOAT_VECTOR: "only IP&BM25 is the supported metric type for sparse index",
            DataType.BINARY_VECTOR: f"binary vector index does not support metric type: {asked}: not found or not "
            f"supported, supported: [{' '.join(one for one in known if one not in _UNSERVED)}]",
            DataType.INT8_VECTOR: f"int vector index does not support metric type: {asked}",
        }.get(kind, f"float vector index does not support metric type: {asked}")
        raise invalid(words, expected="valid index params", actual="invalid index params")
    if asked in _UNSERVED:
        raise invalid(f"metric type {asked} not found or not supported, supported: [HAMMING JACCARD]")
    if asked == "BM25":
        raise invalid("only BM25 Function output field support BM25 metric type")
    return asked


def _checked(index_type: str, chosen: VectorType, given: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in given.items():
        known = chosen.params.get(name)
        if known is None:
            continue
        if isinstance(known, Number):
            values[name] = _number(name, text, known)
        elif known is bool:
            if text.lower() not in ("true", "false"):
                raise invalid(f"Type conflict in json: param '{name}' (\"{text}\") should be a boolean")
            values[name] = text.lower() == "true"
        elif known is str:
            values[name] = text
        elif isinstance(known, frozenset):
            values[name] = _word(index_type, name, text, known)
    return values


def _number(name: str, text: str, known: Number) -> float:
    kind = "integer" if known.whole else "float"
    try:
        value: float = int(text) if known.whole else float(text)
    except ValueError as error:
        if known.whole and _is_float(text):
            raise invalid(f"wrong data type in json, key: '{name}', value: '{text}'") from error
        raise invalid(f"invalid {kind} value, key: '{name}', value: '{text}'") from error
    _check_range(name, text, value, known, INVALID_PARAMETER)
    return value


def _check_range(name: str, text: str, value: float, known: Number, code: Code) -> None:
    if not known.low <= value <= known.high or (known.open_end and value == known.high):
        text = f"Out of range in json: param '{name}' ({text}) should be in range {known.bounds}"
        raise invalid(text) if code is INVALID_PARAMETER else unexpected(text)


def _is_float(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _word(index_type: str, name: str, text: str, known: frozenset[str]) -> str:
    if name == "refine_type" and text.lower() not in known | ({"sq4u"} if index_type == "HNSW_SQ" else set()):
        first = "sq4u, " if index_type == "HNSW_SQ" else ""
        raise invalid(
            f"invalid refine type : {text}, optional types are [{first}sq6, sq8, fp16, bf16, fp32, flat]"
        )
    if name == "sq_type" and text.upper() not in known:
        raise invalid("invalid scalar quantizer type")
    if name == "inverted_index_algo" and text not in known:
        algorithms = "TAAT_NAIVE DAAT_WAND DAAT_MAXSCORE BLOCK_MAX_WAND BLOCK_MAX_MAXSCORE SINDI"
        raise invalid(
            f"sparse inverted index algo {text} not found or not supported, supported: [{algorithms}]"
        )
    return text.upper() if name == "sq_type" else text


def _check_postings(metric: str, kind: str | None) -> None:
    known = POSTING_TYPES[metric]
    if kind is not None and kind not in known:
        raise invalid(
            f"quant_type {kind} is not supported with metric type {metric}, supported: [{' '.join(known)}]"
        )


def _faiss_name(declared: Mapping[str, str]) -> str:
    inner: dict[str, str] = json.loads(declared.get("params") or "{}")
    return declared.get("faiss_index_name") or inner.get("faiss_index_name", "")


def _ours(
    asked: str, chosen: VectorType, field: Field, metric: str, values: Mapping[str, Any]
) -> tuple[str, str, dict[str, Any]]:
    """The index type, metric and parameters of ours."""
    dim, m = field.type.dim or 0, values.get("m")
    if m is not None and dim % m:
        article = "the" if asked == "HNSW_PQ" else "a"
        raise invalid(
            f"The dimension of {article} vector (dim) should be a multiple of the number of subquantizers (m). "
            f"Dimension:{dim}, m:{m}"
        )
    if asked == "FAISS":
        ours, params = described_by(field, str(values.get("faiss_index_name", "")))
        return ours, metric, params
    ours, params = chosen.ours, {}
    if "nlist" in chosen.params and "nlist" in values:
        params["nlist"] = values["nlist"]
    if ours in ("HNSW", "HNSW_SQ"):
        if field.type.data_type is DataType.BINARY_VECTOR:
            return "BIN_IVF_FLAT", metric, {}
        if "M" in values:
            params["M"] = values["M"]
        if "efConstruction" in values:
            params["efConstruction"] = min(max(values["efConstruction"], 8), 4096)
        if asked == "HNSW_SQ" and "sq_type" in values:
            params["sq_type"] = values["sq_type"]
    elif asked == "IVF_PQ":
        if m is not None:
            params["m"] = m
        if "nbits" in values:
            params["nbits"] = 4 if values["nbits"] <= 4 else 8
    elif asked == "SCANN":
        params |= {"nbits": 4, "m": next(one for one in range(max(1, dim // 2), 0, -1) if dim % one == 0)}
    elif ours in ("SPARSE_INVERTED_INDEX", "SPARSE_WAND"):
        _check_postings(metric, values.get("quant_type"))
        names = ("inverted_index_algo", *(("bm25_k1", "bm25_b") if metric == "BM25" else ()))
        params = {name: values[name] for name in names if name in values}
    elif asked == "MINHASH_LSH":
        params = {name: values[name] for name in ("mh_lsh_band", "mh_element_bit_width") if name in values}
    return ours, metric, params


# -- searches ---------------------------------------------------------------------------------------------------------


def tuned(
    state: CollectionAt, field: Field, params: Mapping[str, Any], k: int, *, stepwise: bool = False
) -> dict[str, Any]:
    """The parameters of a search as ours takes them, those that every search takes among them.

    Args:
        state: what is searched.
        field: the field that is.
        params: what is inside `params` of a request.
        k: hits wanted.
        stepwise: hits are taken until there are enough, as for groups, so that an effort below `k` is enough too.

    Raises:
        MilvusError: 1100, a metric that is not the index's, or a name that no index type takes; 65535.
    """
    spec = state.index_on(field)
    general = {name: params[name] for name in _GENERAL if params.get(name) not in (None, "")}
    rest = {name: value for name, value in params.items() if name not in _GENERAL}
    declared = "" if spec is None else spec.declared.get("metric_type", spec.metric)
    asked = str(general.get("metric_type", ""))
    if field.name.endswith("]"):
        # What the index does not compare by is compared without it.
        if declared and not asked:
            general["metric_type"] = declared
    elif declared and asked and asked.upper() != declared.upper():
        raise invalid("metric type not match", expected=declared, actual=asked)
    if "metric_type" in general:
        general["metric_type"] = _SAME.get(general["metric_type"], general["metric_type"])
    return {**general, **search_params(spec, rest, k, stepwise=stepwise)}


def search_params(
    spec: IndexSpec | None, params: Mapping[str, Any], k: int, *, stepwise: bool = False
) -> dict[str, Any]:
    """The parameters of a search through an index, as ours takes them.

    Args:
        spec: the index of the field; None where it has none.
        params: what is inside `params` of a request, without what every search takes (`radius`, `range_filter`, ...).
        k: hits wanted.
        stepwise: whether an effort below `k` is enough.

    Raises:
        MilvusError: 65535, a value that Milvus refuses; 1100, a name that no index type takes.
    """
    given: dict[str, Any] = {}
    asked = "" if spec is None else spec.declared.get("index_type", "")
    for name, value in params.items():
        _known_param(name, _SEARCHED)
        if name not in SEARCH_PARAMS:
            continue
        try:
            given[_SAME.get(name, name)] = _searched(name, value)
        except MilvusError as error:
            if asked == "FAISS" and isinstance(value, str):
                raise unexpected(f"faiss search param '{name}' expects a number, got '{value}'") from error
            raise
    if spec is None:
        return {}
    if asked == "FAISS":
        check_tuned(_faiss_name(spec.declared), params)
    chosen = VECTOR_TYPES.get(asked)
    if chosen is not None and chosen.at_least_k and not stepwise:
        effort = given.get(chosen.effort)
        if effort is not None and effort < k:
            name = next((one for one in params if _SAME.get(one, one) == chosen.effort), chosen.effort)
            raise unexpected(f"{name}({effort}) should be larger than k({k})")
    if asked == "SCANN" and given.get("reorder_k", k) < k and not stepwise:
        raise unexpected(f"reorder_k({given['reorder_k']}) should be larger than k({k})")
    return _told(spec.kind, asked, given, k)


def _searched(name: str, value: Any) -> Any:
    known = SEARCH_PARAMS[name]
    shown = json.dumps(value) if not isinstance(value, str) else value
    if known is str:
        return value
    if known is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise unexpected(f"Type conflict in json: param '{name}' ({shown}) should be a boolean")
        return value
    assert isinstance(known, Number)
    if isinstance(value, str):
        try:
            value = int(value) if known.whole else float(value)
        except ValueError as error:
            kind = "integer" if known.whole else "float"
            raise unexpected(f"invalid {kind} value, key: '{name}', value: '{shown}'") from error
    fits = isinstance(value, int) if known.whole else isinstance(value, int | float)
    if not fits or isinstance(value, bool):
        what = "integer" if known.whole else "a number"
        raise unexpected(f"Type conflict in json: param '{name}' ({shown}) should be {what}")
    _check_range(name, shown, value, known, UNEXPECTED)
    return value


def _told(kind: str, asked: str, given: Mapping[str, Any], k: int) -> dict[str, Any]:
    """The parameters of our kind that what is given amounts to."""
    if kind.startswith("ivf_"):
        told = {name: given[name] for name in ("nprobe", "refine_k") if name in given}
        if asked == "SCANN" and "reorder_k" in given:
            told["refine_k"] = max(1.0, given["reorder_k"] / k)
        if asked in ("DISKANN", "AISAQ"):
            read = given.get("search_list", 0) / k
            told = {"refine_k": read} if read >= _LEAST_READ else {}
        return told
    names = {
        "hnsw": ("ef",),
        "hnsw_sq": ("ef", "refine_k"),
        "bin_ivf_flat": ("nprobe",),
        "sparse_inverted": ("drop_ratio_search",),
        "minhash_lsh": ("refine_k", "mh_search_with_jaccard"),
    }.get(kind, ())
    told = {name: given[name] for name in names if name in given}
    if kind == "minhash_lsh":
        if "refine_k" in told:
            told["refine_k"] = max(1, math.ceil(told["refine_k"]))
        if told.get("mh_search_with_jaccard") is False:
            del told["mh_search_with_jaccard"]
    return told
