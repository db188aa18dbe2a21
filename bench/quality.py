"""Retrieval quality on the Cranfield collection, by words, by meaning and by both, against human judgements.

1,400 abstracts, 225 questions, judged in 1967. The data is read from `../shared/data/cranfield` beside the repository,
or from the folder that `BENCH_DATA` names. Gains are 4 for the best grade down to 1 for the least.

Vectors are those of the `embed` extra, a small model that needs no download; one that reads sentences does better.
`ndcg` and `average_precision` judge any ranking, so another search is measured by adding a ranker to `RANKERS`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from harness import Bench

import headwater as hw

Ranking = Sequence[int]
"""Numbers of documents, best first."""

Ranker = Callable[[Sequence[str], Sequence[str]], list[Ranking]]
"""Documents and questions to a ranking for each question."""

DEPTH = 1000
DIM = 256


class Collection(NamedTuple):
    """Judged texts.

    Attributes:
        documents: their texts.
        questions: their texts.
        gains: for each question, the gain of each document that answers it; above zero.
    """

    documents: list[str]
    questions: list[str]
    gains: list[dict[int, float]]


def read_cranfield() -> Collection | None:
    """The collection; None where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BENCH_DATA", beside)) / "cranfield"
    if not folder.exists():
        return None
    documents = [
        " ".join(re.findall(r"(?ms)^\.[TW]\n(.*?)(?=^\.[A-Z]\n|\Z)", record)).replace("\n", " ")
        for record in _records(folder / "cran.all.1400")
    ]
    questions = [record.partition(".W\n")[2].replace("\n", " ") for record in _records(folder / "cran.qry")]
    gains: list[dict[int, float]] = [{} for _ in questions]
    for line in (folder / "cranqrel").read_text().splitlines():
        question, document, grade = map(int, line.split()[:3])
        if grade > 0:
            gains[question - 1][document - 1] = 5.0 - grade
    return Collection(documents, questions, gains)


def _records(path: Path) -> list[str]:
    return re.split(r"(?m)^\.I \d+\s*\n", path.read_text())[1:]


def ndcg(ranking: Ranking, gains: Mapping[int, float], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first k, 0 to 1."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    got = np.array([gains.get(document, 0.0) for document in ranking[:k]])
    best = np.array(sorted(gains.values(), reverse=True)[:k])
    return float(got @ discounts[: len(got)] / (best @ discounts[: len(best)])) if len(best) else 0.0


def average_precision(ranking: Ranking, gains: Mapping[int, float]) -> float:
    """Mean, over the documents that answer, of the precision where each was found; 0 to 1."""
    found, total = 0, 0.0
    for place, document in enumerate(ranking, 1):
        if document in gains:
            found += 1
            total += found / place
    return total / len(gains) if gains else 0.0


def judged(collection: Collection, rankings: Sequence[Ranking]) -> tuple[float, float]:
    """Mean nDCG@10 and mean average precision of the questions that have an answer."""
    pairs = [(ranking, gains) for ranking, gains in zip(rankings, collection.gains, strict=True) if gains]
    both = np.array([(ndcg(ranking, gains), average_precision(ranking, gains)) for ranking, gains in pairs])
    return float(both[:, 0].mean()), float(both[:, 1].mean())


def text_ranker(analyzer: str) -> Ranker:
    """BM25 through a collection."""

    def rank(documents: Sequence[str], questions: Sequence[str]) -> list[Ranking]:
        with tempfile.TemporaryDirectory() as folder:
            fields = {
                "id": hw.Int64,
                "text": hw.VarChar(65_535, analyzer=analyzer),
                "sparse": hw.SparseFloatVector,
            }
            bm25 = hw.Function("bm25", "BM25", "text", "sparse")
            collection = hw.connect(folder).create_collection("docs", fields, "id", functions=[bm25])
            collection.insert([{"id": i, "text": text} for i, text in enumerate(documents)])
            found = collection.search(list(questions), anns_field="sparse", top_k=DEPTH)
            return [[hit["id"] for hit in hits] for hits in found]

    return rank


def hybrid_ranker(ranker: hw.RRFRanker | hw.WeightedRanker | None) -> Ranker:
    """BM25 and embedded texts fused; the embedded texts alone without a ranker."""

    def rank(documents: Sequence[str], questions: Sequence[str]) -> list[Ranking]:
        with tempfile.TemporaryDirectory() as folder:
            fields = {
                "id": hw.Int64,
                "text": hw.VarChar(65_535, analyzer="english"),
                "sparse": hw.SparseFloatVector,
                "dense": hw.FloatVector(DIM),
            }
            functions = [
                hw.Function("bm25", "BM25", "text", "sparse"),
                hw.Function("embed", "TEXT_EMBEDDING", "text", "dense", {"provider": "wordllama"}),
            ]
            collection = hw.connect(folder).create_collection("docs", fields, "id", functions=functions)
            collection.insert([{"id": i, "text": text} for i, text in enumerate(documents)])
            legs = [
                hw.AnnSearchRequest(list(questions), name, limit=DEPTH)
                for name in (("dense",) if ranker is None else ("sparse", "dense"))
            ]
            found = collection.hybrid_search(legs, ranker or hw.RRFRanker(), limit=DEPTH)
            return [[hit["id"] for hit in hits] for hits in found]

    return rank


RANKERS: dict[str, Ranker] = {
    "text, standard": text_ranker("standard"),
    "text, english": text_ranker("english"),
    "dense": hybrid_ranker(None),
    "hybrid, reciprocal ranks": hybrid_ranker(hw.RRFRanker()),
    "hybrid, weighted .8 and .2": hybrid_ranker(hw.WeightedRanker(0.8, 0.2)),
}


def main() -> None:
    bench = Bench.from_args("quality")
    collection = read_cranfield()
    if collection is None:
        print("no cranfield collection beside the repository: nothing to measure")
        return
    gains: dict[str, float] = {}
    for name, rank in RANKERS.items():
        gains[name], precision = judged(collection, rank(collection.documents, collection.questions))
        bench.row(search=name, ndcg_at_10=gains[name], map=precision)
    text, dense, hybrid = (gains[name] for name in ("text, english", "dense", "hybrid, reciprocal ranks"))
    bench.at_least("nDCG@10 of text", text, 0.35)
    bench.at_least("nDCG@10 of hybrid over the better of text and dense", hybrid / max(text, dense), 1.0)
    bench.finish()


if __name__ == "__main__":
    main()
