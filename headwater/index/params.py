"""Which index, with which metric and options: checked once, when an index is declared."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.index.text.params import SPARSE_KIND, check_sparse_search, parse_sparse
from headwater.schema import HASH_BITS, Field, FieldType
from headwater.types import DataType, MetricType

__all__ = [
    "INDEX_TYPES",
    "IndexParams",
    "check_metric",
    "check_search_options",
    "check_signatures",
    "default_metric",
    "parse_params",
]

INDEX_TYPES = {
    "AUTOINDEX": "ivf_rabitq",
    "FLAT": "flat",
    "IVF_FLAT": "ivf_flat",
    "IVF_SQ8": "ivf_sq8",
    "IVF_PQ": "ivf_pq",
    "IVF_RABITQ": "ivf_rabitq",
    "HNSW": "hnsw",
    "HNSW_SQ": "hnsw_sq",
    "BIN_FLAT": "bin_flat",
    "BIN_IVF_FLAT": "bin_ivf_flat",
    "MINHASH_LSH": "minhash_lsh",
}
"""Milvus's names of index types, and the words stored in manifests."""

_IVF = {"nlist": (1, 65_536)}
_HNSW = {"M": (2, 2048), "efConstruction": (8, 4096)}
OPTIONS: dict[str, dict[str, tuple[int, int]]] = {
    "flat": {},
    "ivf_flat": _IVF,
    "ivf_sq8": _IVF,
    "ivf_pq": {**_IVF, "m": (1, 4096), "nbits": (4, 8)},
    "ivf_rabitq": _IVF,
    "hnsw": _HNSW,
    "hnsw_sq": _HNSW,
    "bin_flat": {},
    "bin_ivf_flat": _IVF,
    "minhash_lsh": {"mh_lsh_band": (1, 4096), "mh_element_bit_width": (HASH_BITS, HASH_BITS)},
}
"""Build options of each kind, with their least and greatest values (Milvus's)."""

WORDS = {"hnsw_sq": {"sq_type": ("SQ4U", "SQ6", "SQ8", "BF16", "FP16")}}
"""Build options that are words."""

_PROBES: dict[str, type] = {"nprobe": int, "refine_k": float}
_WALK: dict[str, type] = {"ef": int}
SEARCH_OPTIONS: dict[str, dict[str, type]] = {
    "flat": {},
    "ivf_flat": _PROBES,
    "ivf_sq8": _PROBES,
    "ivf_pq": _PROBES,
    "ivf_rabitq": _PROBES,
    "hnsw": _WALK,
    "hnsw_sq": {"ef": int, "refine_k": float},
    "bin_flat": {},
    "bin_ivf_flat": {"nprobe": int},
    "minhash_lsh": {"refine_k": int, "mh_search_with_jaccard": bool},
}
"""Search parameters of each kind: numbers of at least one, or flags that can only be true."""

_BINARY_METRICS = (MetricType.HAMMING, MetricType.JACCARD, MetricType.MHJACCARD)


@dataclass(frozen=True)
class IndexParams:
    """A kind, its metric, and its build options.

    Attributes:
        kind: the word stored in manifests.
        metric: how closeness is measured.
        options: by name.
        share: of the collection's rows that are indexed together, and about of a search's hits.
    """

    kind: str
    metric: MetricType
    options: tuple[tuple[str, Any], ...] = ()
    share: float = 1.0

    def option(self, name: str, default: int) -> int:
        """A build option, or its default."""
        return int(dict(self.options).get(name, default))


def default_metric(field_type: FieldType) -> MetricType:
    """COSINE; HAMMING for binary vectors; IP for sparse ones."""
    if field_type.data_type is DataType.SPARSE_FLOAT_VECTOR:
        return MetricType.IP
    return MetricType.HAMMING if field_type.data_type is DataType.BINARY_VECTOR else MetricType.COSINE


def parse_params(
    index_type: str, metric_type: str | None, params: Mapping[str, Any], field_type: FieldType
) -> IndexParams:
    """Check an index declaration.

    Args:
        index_type: Milvus's name, any case.
        metric_type: L2, IP, COSINE, HAMMING or JACCARD; the field's default when None.
        params: build options.
        field_type: the field's type.

    Raises:
        UnsupportedOption: an unknown type or option.
        InvalidArgument: a metric or value that does not fit.
    """
    if field_type.data_type is DataType.SPARSE_FLOAT_VECTOR:
        return IndexParams(*parse_sparse(index_type, metric_type, params))
    if not field_type.data_type.dense_vector:
        raise InvalidArgument(f"an index needs a vector field, got {field_type}")
    name = index_type.upper()
    if name not in INDEX_TYPES:
        near = difflib.get_close_matches(name, INDEX_TYPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(INDEX_TYPES)}"
        raise UnsupportedOption(f"unknown index_type {index_type!r}", hint=hint)
    binary = field_type.data_type is DataType.BINARY_VECTOR
    kind = (
        {"AUTOINDEX": "bin_ivf_flat", "FLAT": "bin_flat"}.get(name, INDEX_TYPES[name])
        if binary
        else INDEX_TYPES[name]
    )
    if binary != kind.startswith(("bin_", "minhash_")):
        raise InvalidArgument(f"index_type {name} does not fit {field_type}")
    if kind == "minhash_lsh" or (name == "AUTOINDEX" and (metric_type or "").upper() == MetricType.MHJACCARD):
        return _minhash(metric_type, params, field_type)
    try:
        metric = MetricType(metric_type.upper()) if metric_type else default_metric(field_type)
    except ValueError as error:
        raise InvalidArgument(
            f"unknown metric_type {metric_type!r}", hint=f"known: {', '.join(MetricType)}"
        ) from error
    if (metric in _BINARY_METRICS) != binary or (metric is MetricType.MHJACCARD and kind != "bin_flat"):
        raise InvalidArgument(f"metric_type {metric} does not fit {name} of {field_type}")
    if metric is MetricType.MHJACCARD:
        check_signatures(field_type)
    return IndexParams(kind, metric, _options(kind, params, field_type))


def _minhash(metric_type: str | None, params: Mapping[str, Any], field_type: FieldType) -> IndexParams:
    if metric_type is not None and metric_type.upper() != MetricType.MHJACCARD:
        raise InvalidArgument(f"index_type MINHASH_LSH has the metric MHJACCARD, got {metric_type!r}")
    check_signatures(field_type)
    hashes = (field_type.dim or 0) // HASH_BITS
    if params.get("mh_lsh_band", 1) > hashes:
        raise InvalidArgument(
            f"minhash_lsh: mh_lsh_band must be at most {hashes}, the hashes of {field_type}"
        )
    return IndexParams("minhash_lsh", MetricType.MHJACCARD, _options("minhash_lsh", params, field_type))


def check_signatures(field_type: FieldType) -> None:
    """Check that a field may hold min-hash signatures.

    Raises:
        InvalidArgument: its bits are not a number of 32-bit hashes.
    """
    if field_type.data_type is not DataType.BINARY_VECTOR or (field_type.dim or 0) % HASH_BITS:
        raise InvalidArgument(f"MHJACCARD compares hashes of {HASH_BITS} bits, and the field is {field_type}")


def check_metric(field: Field, metric: MetricType) -> None:
    """Check that vectors of a field can be compared by a metric.

    Raises:
        InvalidArgument: they cannot.
    """
    kind = field.type.data_type
    if not kind.dense_vector:
        return
    bits = kind is DataType.BINARY_VECTOR
    numbers = (MetricType.L2, MetricType.IP, MetricType.COSINE)
    if metric not in (_BINARY_METRICS if bits else numbers):
        known = ", ".join(_BINARY_METRICS if bits else numbers)
        raise InvalidArgument(
            f"metric_type {metric} does not fit field {field.name!r}, which is {field.type}",
            hint=f"expected one of {known}",
        )
    if metric is MetricType.MHJACCARD:
        check_signatures(field.type)


def _options(kind: str, params: Mapping[str, Any], field_type: FieldType) -> tuple[tuple[str, Any], ...]:
    known, words = OPTIONS[kind], WORDS.get(kind, {})
    for name, value in params.items():
        if name in words:
            if value not in words[name]:
                raise InvalidArgument(
                    f"{kind}: {name} must be one of {', '.join(words[name])}, got {value!r}"
                )
            continue
        if name not in known:
            raise UnsupportedOption(
                f"{kind} has no build option {name!r}",
                hint=f"options: {', '.join((*known, *words)) or 'none'}",
            )
        low, high = known[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidArgument(f"{kind}: {name} must be an integer from {low} to {high}, got {value!r}")
    m = params.get("m")
    if m is not None and (field_type.dim or 0) % m:
        raise InvalidArgument(f"ivf_pq: m must divide the dimension {field_type.dim}, got {m}")
    return tuple(sorted(params.items()))


def check_search_options(kind: str, options: Mapping[str, Any]) -> None:
    """Check the parameters of a search through an index.

    Args:
        kind: of the index.
        options: the parameters.

    Raises:
        UnsupportedOption: the kind has no such parameter.
        InvalidArgument: a value is not a number of at least one, or not an integer where one is needed.
    """
    if kind == SPARSE_KIND:
        return check_sparse_search(options)
    known = SEARCH_OPTIONS[kind]
    for name, value in options.items():
        if name not in known:
            raise UnsupportedOption(
                f"{kind} has no search parameter {name!r}", hint=f"parameters: {', '.join(known) or 'none'}"
            )
        if known[name] is bool:
            # Candidates are scored by their signatures either way, which is no worse than what false asks for.
            if not isinstance(value, bool):
                raise InvalidArgument(f"{kind}: {name} must be true or false, got {value!r}")
            continue
        integer = known[name] is int
        fits = isinstance(value, int) if integer else isinstance(value, int | float)
        if not fits or isinstance(value, bool) or not value >= 1:
            what = "a positive integer" if integer else "a number of at least 1"
            raise InvalidArgument(f"{kind}: {name} must be {what}, got {value!r}")
