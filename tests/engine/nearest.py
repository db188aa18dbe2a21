"""The nearest rows by plain arithmetic, which searches are compared with."""

from __future__ import annotations

import numpy as np


def nearest_rows(
    vectors: np.ndarray, query: np.ndarray, metric: str, alive: np.ndarray, top_k: int
) -> list[int]:
    """The nearest living rows, at most `top_k`, by L2, IP or COSINE; of equal ones the first."""
    far = ((vectors - query) ** 2).sum(axis=1)
    if metric != "L2":
        dots = vectors @ query
        far = -dots if metric == "IP" else -dots / np.linalg.norm(vectors, axis=1)
    order = np.argsort(np.where(alive, far, np.inf), kind="stable")
    found: list[int] = order[: min(top_k, int(alive.sum()))].tolist()
    return found
