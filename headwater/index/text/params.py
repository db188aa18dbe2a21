"""Options of the inverted index: what may be said when it is declared, and when it is searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.types import MetricType

__all__ = [
    "BM25_B",
    "BM25_K1",
    "INVERTED_KINDS",
    "SPARSE_KIND",
    "TEXT_KIND",
    "InvertedChoice",
    "check_sparse_search",
    "parse_sparse",
]

SPARSE_KIND = "sparse_inverted"
"""Of a sparse vector field, or of the text that a BM25 function reads."""

TEXT_KIND = "text"
"""Of a text field itself."""

INVERTED_KINDS = (SPARSE_KIND, TEXT_KIND)

BM25_K1, BM25_B = 1.2, 0.75

_ALGORITHMS = (
    *("DAAT_MAXSCORE", "DAAT_WAND", "TAAT_NAIVE"),
    *("BLOCK_MAX_MAXSCORE", "BLOCK_MAX_WAND", "SINDI"),
)
_TYPES = ("AUTOINDEX", "SPARSE_INVERTED_INDEX", "SPARSE_WAND")
_RANGES = {"bm25_k1": (0.0, 3.0), "bm25_b": (0.0, 1.0)}


class InvertedChoice(NamedTuple):
    """A checked declaration: the kind, its metric, and its options, sorted."""

    kind: str
    metric: MetricType
    options: tuple[tuple[str, Any], ...]


def parse_sparse(index_type: str, metric_type: str | None, params: Mapping[str, Any]) -> InvertedChoice:
    """Check the declaration of an index on a sparse vector field.

    Args:
        index_type: SPARSE_INVERTED_INDEX, SPARSE_WAND or AUTOINDEX; all are one kind.
        metric_type: IP (default) or BM25.
        params: `inverted_index_algo`, which names one of Milvus's algorithms: all of them find the same rows, and so
            does ours; of BM25 also `bm25_k1` and `bm25_b`.

    Raises:
        UnsupportedOption: an unknown type or option.
        InvalidArgument: a metric or value that does not fit.
    """
    if index_type.upper() not in _TYPES:
        raise UnsupportedOption(
            f"index_type {index_type!r} does not fit sparse_float_vector", hint=f"known: {', '.join(_TYPES)}"
        )
    name = (metric_type or "IP").upper()
    if name not in ("IP", "BM25"):
        raise InvalidArgument(
            f"metric_type {metric_type} does not fit sparse_float_vector, expected IP or BM25"
        )
    known = ("inverted_index_algo", *(_RANGES if name == "BM25" else ()))
    options: dict[str, Any] = {}
    for option, value in params.items():
        if option not in known:
            raise UnsupportedOption(
                f"{SPARSE_KIND} with {name} has no build option {option!r}",
                hint=f"options: {', '.join(known)}",
            )
        options[option] = _algorithm(value) if option not in _RANGES else _number(option, value)
    return InvertedChoice(SPARSE_KIND, MetricType(name), tuple(sorted(options.items())))


def _algorithm(value: Any) -> str:
    if value not in _ALGORITHMS:
        raise InvalidArgument(
            f"inverted_index_algo must be one of {', '.join(_ALGORITHMS)}, got {value!r}",
            hint="leave it out: all of them find the same rows",
        )
    return str(value)


def _number(name: str, value: Any) -> float:
    low, high = _RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidArgument(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    return float(value)


def check_sparse_search(options: Mapping[str, Any], *, by_text: bool = False) -> None:
    """Check the parameters of a search of a sparse vector field.

    Args:
        options: the parameters.
        by_text: whether the field is searched by texts, so that `analyzer_name` may say which analyzer cuts them.

    Raises:
        UnsupportedOption: there is no such parameter.
        InvalidArgument: `drop_ratio_search` is not a number from 0 to below 1, or `analyzer_name` is no name.
    """
    known = ("drop_ratio_search", "analyzer_name") if by_text else ("drop_ratio_search",)
    for name, value in options.items():
        if name not in known:
            raise UnsupportedOption(
                f"{SPARSE_KIND} has no search parameter {name!r}", hint=f"parameters: {', '.join(known)}"
            )
        if name == "analyzer_name":
            if not isinstance(value, str):
                raise InvalidArgument(f"analyzer_name must be a name, got {value!r}")
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise InvalidArgument(f"drop_ratio_search must be a number from 0 to below 1, got {value!r}")
