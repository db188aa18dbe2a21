"""Inverted lists opened where their artifact is."""

from __future__ import annotations

from typing import Any

import faiss

from headwater.index.artifact import Artifact
from headwater.index.cold_lists import ColdLists
from headwater.index.lists import read_directory
from headwater.index.placed_lists import HotLists, PlacedLists, WarmLists

__all__ = ["open_lists"]

_BY_TIER: dict[str, type[HotLists] | type[WarmLists] | type[ColdLists]] = {
    "hot": HotLists,
    "warm": WarmLists,
    "cold": ColdLists,
}


def open_lists(artifact: Artifact, directory: memoryview, index: Any) -> PlacedLists:
    """Put an artifact's lists under an index of faiss's.

    Args:
        artifact: the file, whose tier decides where the lists are.
        directory: its section `directory`.
        index: of its codec, with empty lists, binary or not.

    Raises:
        Corrupt: the directory does not fit the codec, or a hot section is altered.
    """
    entries = read_directory(artifact, directory, faiss.downcast_InvertedLists(index.invlists))
    lists = _BY_TIER[artifact.source.tier](artifact, entries)
    lists.put_under(index)
    return lists
