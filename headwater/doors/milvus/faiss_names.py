"""Indexes that are described by a factory string of faiss, and the kinds of ours that they amount to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import faiss

from headwater.doors.milvus.codes import MISSING_PARAMETER, MilvusError, invalid, unexpected
from headwater.schema import Field
from headwater.types import DataType

__all__ = ["check_tuned", "described_by"]

_LISTS = re.compile(r"(?:^|,)B?IVF(\d+)")
_GRAPH = re.compile(r"(?:^|,)B?HNSW(\d+)")
_PRODUCT = re.compile(r"(?:^|,)PQ(\d+)(?:x(\d+))?")
_TUNES = {"nprobe": "IVF", "efSearch": "HNSW", "k_factor": "R"}
"""Search parameters, and what a string has of an index that they tune; R is of Refine and RFlat."""

_LONGEST = 200
_MOST_NUMBERS = 1 << 25
_MOST_BITS = 16


def described_by(field: Field, name: str) -> tuple[str, dict[str, Any]]:
    """The index type of ours that a factory string describes, and its parameters.

    Args:
        field: of float or binary vectors.
        name: such as ``IVF64,PQ8x4,RFlat``.

    Raises:
        MilvusError: 1101, there is no string; 1100, faiss does not understand it.
    """
    if not name:
        raise MilvusError(MISSING_PARAMETER, "faiss_index_name is required", missing_param="faiss_index_name")
    bits = field.type.data_type is DataType.BINARY_VECTOR
    _check(field.type.dim or 0, name, bits=bits)
    lists, graph, product = _LISTS.search(name), _GRAPH.search(name), _PRODUCT.search(name)
    nlist = {} if lists is None else {"nlist": min(max(int(lists[1]), 1), 65_536)}
    if bits:
        return ("BIN_FLAT", {}) if lists is None and graph is None else ("BIN_IVF_FLAT", nlist)
    if graph is not None and lists is None:
        links = {"M": min(max(int(graph[1]), 2), 2048)}
        return ("HNSW" if name.endswith(graph[0]) or "Flat" in name else "HNSW_SQ"), links
    if product is not None and lists is not None:
        m = {} if (field.type.dim or 0) % int(product[1]) else {"m": int(product[1])}
        return "IVF_PQ", {**nlist, **m, "nbits": 4 if int(product[2] or 8) <= 4 else 8}
    if lists is not None:
        return ("IVF_FLAT" if name.endswith("Flat") else "IVF_SQ8"), nlist
    return ("FLAT" if name in ("Flat", "IDMap,Flat") else "IVF_RABITQ"), {}


def check_tuned(name: str, params: Iterable[str]) -> None:
    """Check that what a search tunes is there in an index.

    Args:
        name: the factory string of the index.
        params: names that a search gives.

    Raises:
        MilvusError: 65535, as faiss refuses it.
    """
    for param in params:
        part = _TUNES.get(param)
        if part is not None and not re.search(rf"(?:^|,)B?{part}", name):
            raise unexpected(f"faiss search param '{param}' is not supported by index {name}")


def _check(dim: int, name: str, *, bits: bool) -> None:
    """Let faiss read the string; nothing is trained, and no list is made."""
    if len(name) > _LONGEST or not re.fullmatch(r"[A-Za-z0-9_,.()\[\] -]+", name):
        raise invalid(f"invalid faiss_index_name: {name}")
    # What faiss would make room for at once is bounded before it reads the string.
    numbers = [int(one[:9]) for one in re.findall(r"(?<!IVF)(?<!\d)\d+", name)]
    bits_each = max((int(one[:9]) for one in re.findall(r"x(\d+)", name)), default=0)
    many = max(numbers, default=0) * dim > _MOST_NUMBERS
    if (
        many
        or bits_each > _MOST_BITS
        or dim << bits_each > _MOST_NUMBERS
        or ("IMI" in name and bits_each > 8)
    ):
        raise invalid(f"invalid faiss_index_name: {name}, it is too large")
    # A description is read without its number of lists, for which faiss would make room at once.
    small = re.sub(r"IVF\d+", "IVF1", name)
    try:
        if bits:
            faiss.index_binary_factory(dim, small)
        else:
            faiss.index_factory(dim, small)
    except (RuntimeError, ValueError) as error:
        raise invalid(f"invalid faiss_index_name: {name}") from error
