"""Indexes: one file per kind, over arrays and byte ranges; this room knows no manifest.

An artifact covers one segment and one field. Rows that no artifact covers are searched exactly by the caller.
"""

from headwater.errors import UnsupportedOption
from headwater.index.binary import BinaryIvf
from headwater.index.candidates import Candidates, worth_comparing
from headwater.index.cold_lists import list_budget
from headwater.index.exact import exact_range, exact_search
from headwater.index.faiss_index import complete, search_threads
from headwater.index.flat import Flat
from headwater.index.held import held_bytes
from headwater.index.hnsw import Hnsw
from headwater.index.ivf import Ivf
from headwater.index.minhash import MinHashLsh
from headwater.index.params import (
    INDEX_TYPES,
    IndexParams,
    check_metric,
    check_search_options,
    check_signatures,
    default_metric,
    parse_params,
)
from headwater.index.protocol import Index, IndexKind, SupportsCandidates, SupportsOrder
from headwater.index.scalar import SCALAR_KINDS, ScalarIndex, ScalarIndexKind, ScalarParams
from headwater.index.scan_codes import LEAST_CODED_ROWS, ScanCodes, make_codes
from headwater.index.selected import num_selected

__all__ = [
    "INDEX_TYPES",
    "LEAST_CODED_ROWS",
    "SCALAR_KINDS",
    "Candidates",
    "Index",
    "IndexKind",
    "IndexParams",
    "ScalarIndex",
    "ScalarIndexKind",
    "ScalarParams",
    "SupportsOrder",
    "ScanCodes",
    "SupportsCandidates",
    "check_metric",
    "check_search_options",
    "check_signatures",
    "complete",
    "default_metric",
    "exact_range",
    "exact_search",
    "get",
    "held_bytes",
    "list_budget",
    "make_codes",
    "num_selected",
    "parse_params",
    "search_threads",
    "worth_comparing",
]

_KINDS: dict[str, IndexKind] = {
    "flat": Flat("flat"),
    "ivf_flat": Ivf("ivf_flat"),
    "ivf_sq8": Ivf("ivf_sq8"),
    "ivf_pq": Ivf("ivf_pq"),
    "ivf_rabitq": Ivf("ivf_rabitq"),
    "hnsw": Hnsw("hnsw"),
    "hnsw_sq": Hnsw("hnsw_sq"),
    "bin_flat": Flat("bin_flat"),
    "bin_ivf_flat": BinaryIvf(),
    "minhash_lsh": MinHashLsh(),
}


def get(kind: str) -> IndexKind:
    """The kind of a word stored in a manifest.

    Raises:
        UnsupportedOption: this release does not know the kind.
    """
    if kind not in _KINDS:
        raise UnsupportedOption(f"unknown index kind {kind!r}", hint=f"known: {', '.join(_KINDS)}")
    return _KINDS[kind]
