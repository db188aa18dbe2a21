"""Models that read: each text of a candidate beside the question, scored by whatever the caller brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from headwater.errors import InvalidArgument, Unavailable
from headwater.query.fuse import Candidates, Floats, Scores
from headwater.types import DataType

__all__ = ["ModelRanker", "TextScorer"]

TextScorer = Callable[[str, Sequence[str]], Sequence[float]]
"""(question, texts) to a number for each text, larger is better: any function, `HttpScorer`, `OnnxScorer`."""


class ModelRanker:
    """Scores the text of each candidate against the question; what the legs say no longer counts.

    Every candidate of every leg is scored, so the legs' limits say how much the model reads. A row whose text is null
    is read as one whose text is empty, as in Milvus.

    Args:
        scorer: (question, texts) to scores, larger is better: any callable, `HttpScorer`, `OnnxScorer`.
        field: the text field to read.
        queries: the questions as text, one for each query; those of a text leg by default.

    Raises:
        InvalidArgument: the scorer is not callable, or a question is no text.
    """

    name: ClassVar[str] = "model"

    def __init__(self, scorer: TextScorer, field: str, queries: Sequence[str] | str | None = None) -> None:
        if not callable(scorer):
            raise InvalidArgument(
                f"ModelRanker: expected a callable (question, texts) -> scores, got {scorer!r}"
            )
        asked = (queries,) if isinstance(queries, str) else queries
        if asked is not None and not all(isinstance(query, str) for query in asked):
            raise InvalidArgument(f"ModelRanker: queries must be texts, got {queries!r}")
        self.scorer = scorer
        self.field = field
        self.queries = None if asked is None else tuple(asked)

    def rerank(self, candidates: Candidates) -> Scores:
        """See `Reranker`."""
        kind = candidates.snapshot.schema.field(self.field).type.data_type
        if kind not in (DataType.VARCHAR, DataType.TEXT):
            raise InvalidArgument(f"ModelRanker: field {self.field!r} is {kind}, expected a text field")
        queries = self.queries or candidates.texts
        if queries is None or len(queries) != candidates.num_queries:
            found = "none" if queries is None else str(len(queries))
            raise InvalidArgument(
                f"ModelRanker: expected a question for each of {candidates.num_queries} queries, got {found}",
                hint="pass queries=[...]",
            )
        texts = [text or "" for text in candidates.column(self.field).to_pylist()]
        out = np.empty(len(candidates))
        stops = np.searchsorted(candidates.query, np.arange(candidates.num_queries + 1))
        for query, start, stop in zip(queries, stops[:-1].tolist(), stops[1:].tolist(), strict=True):
            if start < stop:
                out[start:stop] = _checked(self.scorer(query, texts[start:stop]), stop - start)
        return Scores(out)

    def __repr__(self) -> str:
        return f"ModelRanker({self.scorer!r}, field={self.field!r})"


def _checked(scores: Any, n: int) -> Floats:
    """(n,) finite numbers, or an error that says what came instead."""
    try:
        values: Floats = np.asarray(scores, np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise Unavailable(f"the reranking model answered no numbers: {error}") from error
    if len(values) != n:
        raise Unavailable(f"the reranking model answered {len(values)} scores for {n} texts")
    if not np.isfinite(values).all():
        raise Unavailable(f"the reranking model answered {values[~np.isfinite(values)][0]} as a score")
    return values
