"""The centroids of inverted lists, and the graph that finds the nearest of them.

Where there are many lists the graph keeps centroids as 8-bit numbers, a quarter of their size and found as well (recall
of .9795 with both). Codes are made against what those decode to, so the rounding costs codes nothing.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater.types import FloatMatrix

__all__ = ["graph_over_centroids", "has_graph", "put_graph", "reach", "stored_centroids"]

_GRAPH_LISTS = 256
_LINKS = 32
_EFFORT = 100


def has_graph(index: Any) -> bool:
    """Whether an inverted file finds its lists through a graph over the centroids."""
    return isinstance(faiss.downcast_index(index.quantizer), faiss.IndexHNSW)


def graph_over_centroids(index: Any) -> Any:
    """Round the centroids of a trained index, still without rows, to what a graph over them keeps.

    Args:
        index: faiss's inverted file over a flat quantizer; its centroids are the rounded ones from here.

    Returns:
        The graph, for `put_graph` once rows are added; None where lists are few and are best compared one by one.
    """
    nlist = int(index.nlist)
    if nlist < _GRAPH_LISTS:
        return None
    quantizer = faiss.downcast_index(index.quantizer)
    centroids = quantizer.reconstruct_n(0, nlist)
    graph = faiss.IndexHNSWSQ(index.d, faiss.ScalarQuantizer.QT_8bit, _LINKS, index.metric_type)
    graph.hnsw.efConstruction = _EFFORT
    graph.train(centroids)
    graph.add(centroids)
    quantizer.reset()
    quantizer.add(faiss.downcast_index(graph.storage).reconstruct_n(0, nlist))
    if getattr(index, "precomputed_table", None) is not None:
        # Distances between codewords and lists.
        index.precompute_table()
    return graph


def put_graph(index: Any, graph: Any) -> None:
    """Let an index find its lists through a graph.

    Args:
        index: faiss's inverted file, all rows added: each went to the nearest centroid by exact search.
        graph: from `graph_over_centroids`.
    """
    if graph is None:
        return
    # The index owned the flat quantizer; Python does now, and owns the graph as well.
    faiss.downcast_index(index.quantizer).this.own(True)
    index.quantizer = graph
    index.own_fields = False
    index.referenced_objects = [graph]


def reach(index: Any, queries: FloatMatrix, lists: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """(q,) Euclidean distance of each query from the centroid of a list of its own.

    The error of a code's estimate grows with it: divided by it, and by the length of the rows' residuals, it was .35 to
    .37 over the square root of the dimension in clusters and in texts alike (2-bit codes).

    Args:
        index: faiss's inverted file.
        queries: (q, dim) as the index takes them.
        lists: (q,) list numbers.
    """
    centroids = faiss.downcast_index(index.quantizer).reconstruct_batch(np.maximum(lists, 0))
    apart: npt.NDArray[np.float32] = np.linalg.norm(queries - centroids, axis=1)
    return apart


def stored_centroids(index: Any) -> FloatMatrix:
    """(nlist, dim) centroids of an index: a view of what faiss keeps, decoded where that is not float32."""
    quantizer = faiss.downcast_index(index.quantizer)
    storage = faiss.downcast_index(quantizer.storage) if has_graph(index) else quantizer
    shape = (int(index.nlist), int(index.d))
    if not isinstance(storage, faiss.IndexFlat):
        decoded: FloatMatrix = np.ascontiguousarray(storage.reconstruct_n(0, shape[0]))
        return decoded
    centroids: FloatMatrix = faiss.rev_swig_ptr(storage.get_xb(), shape[0] * shape[1]).reshape(shape)
    return centroids
