"""Full-text search, BM25, top 10: queries/s, p50 and p99 beside raw tantivy, LanceDB FTS and Milvus Lite.

Documents are generated: words of a Zipf vocabulary (made of syllables, so that they look like words), about 65 to a
document. Queries are two to four words drawn as the documents' own words are, so frequent words are frequent in them;
any of a query's words may match. One query at a time, one thread. Each engine returns ids and scores, as its own API
gives them. In the run, the ten best scores of ours are compared with those of scoring every document.

With `shared/data/cranfield` beside the repository, its 1,400 abstracts and 225 questions are searched too.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from harness import Bench
from inverted import K, MilvusLite, Ours, seconds
from peers import folder_bytes

import headwater as hw

_SYLLABLES = [a + b for a in "bcdfghklmnprstvz" for b in "aeiou"]


def word(number: int) -> str:
    """A word for each number: frequent ones are short."""
    text = ""
    while True:
        text += _SYLLABLES[number % 80]
        number = number // 80 - 1
        if number < 0:
            return text


def documents(n: int, vocabulary: int, seed: int = 0) -> tuple[pa.Array, np.ndarray, pa.Array]:
    """Texts, the number of each of their words, and the vocabulary."""
    rng = np.random.default_rng(seed)
    words = pa.array([word(i) for i in range(vocabulary)])
    chances = 1 / (np.arange(1, vocabulary + 1) + 2.7) ** 1.05
    lengths = np.clip(rng.lognormal(np.log(60), 0.5, n).astype(int), 5, 500)
    tokens = np.searchsorted(np.cumsum(chances / chances.sum()), rng.random(int(lengths.sum())))
    tokens = np.minimum(tokens, vocabulary - 1).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), words.take(pa.array(tokens)))
    return pc.binary_join(lists, " "), tokens, words


def questions(tokens: np.ndarray, words: pa.Array, count: int) -> list[str]:
    rng = np.random.default_rng(1)
    return [
        " ".join(words.take(pa.array(rng.choice(tokens, rng.integers(2, 5)))).to_pylist())
        for _ in range(count)
    ]


class Headwater(Ours):
    def __init__(self, folder: Path) -> None:
        fields = {
            "id": hw.Int64,
            "text": hw.VarChar(65_535, analyzer="standard"),
            "sparse": hw.SparseFloatVector,
        }
        super().__init__(folder, fields, "sparse", [hw.Function("bm25", "BM25", "text", "sparse")])

    def load(self, texts: pa.Array) -> None:
        self.collection.insert(pa.table({"id": np.arange(len(texts)), "text": texts}))
        self.collection.create_index("sparse")


class Tantivy:
    """The library itself, through its Python binding: the limit. Positions are indexed, as ours are."""

    name = "tantivy"

    def __init__(self, folder: Path) -> None:
        import tantivy

        self.tantivy, self.folder = tantivy, folder
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("text", stored=False, tokenizer_name="default", index_option="position")
        self.index = tantivy.Index(builder.build(), path=str(folder))

    def load(self, texts: pa.Array) -> None:
        writer = self.index.writer(500_000_000, 1)
        for text in texts.to_pylist():
            writer.add_document(self.tantivy.Document(text=text))
        writer.commit()
        writer.wait_merging_threads()
        self.index.reload()
        self.searcher = self.index.searcher()

    def search(self, query: str) -> list[float]:
        parsed = self.index.parse_query(query, ["text"])
        return [score for score, _ in self.searcher.search(parsed, K, count=False).hits]

    def index_bytes(self) -> int:
        return folder_bytes(self.folder)

    def close(self) -> None:
        pass


class LanceDb:
    name = "lancedb"

    def __init__(self, folder: Path) -> None:
        import lancedb

        self.folder, self.database = folder, lancedb.connect(str(folder))

    def load(self, texts: pa.Array) -> None:
        data = pa.table({"id": np.arange(len(texts)), "text": texts})
        self.table = self.database.create_table("docs", data)
        before = folder_bytes(self.folder)
        self.table.create_fts_index("text", use_tantivy=False, stem=False, remove_stop_words=False)
        self.size = folder_bytes(self.folder) - before

    def search(self, query: str) -> list[float]:
        found = self.table.search(query, query_type="fts").limit(K).select(["id", "_score"]).to_arrow()
        return list(found["_score"].to_pylist())

    def index_bytes(self) -> int:
        return self.size

    def close(self) -> None:
        pass


class Milvus(MilvusLite):
    def __init__(self, folder: Path) -> None:
        from pymilvus import DataType, Function, FunctionType

        super().__init__(folder, "sparse")
        self.schema.add_field("text", DataType.VARCHAR, max_length=65_535, enable_analyzer=True)
        self.schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
        self.schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["sparse"]))

    def load(self, texts: pa.Array) -> None:
        self.insert([{"id": i, "text": text} for i, text in enumerate(texts.to_pylist())], "BM25")


def timed(search: Callable[[str], Any], queries: Sequence[str], rounds: int) -> tuple[float, float, float]:
    """Queries/s, p50 and p99 in milliseconds, of the best round."""
    best: list[float] = []
    for _ in range(rounds):
        times = [seconds(search, query) for query in queries]
        if not best or sum(times) < sum(best):
            best = times
    cuts = statistics.quantiles(best, n=100)
    return len(best) / sum(best), cuts[49] * 1e3, cuts[98] * 1e3


def scored_in_full(texts: pa.Array, query: str) -> np.ndarray:
    """BM25 of every document from the definition, by arrays; the ten best."""
    terms, mean = {}, float(pc.mean(pc.add(pc.count_substring(texts, " "), 1)).as_py())
    lengths = pc.add(pc.count_substring(texts, " "), 1).to_numpy()
    for term in query.split():
        terms[term] = terms.get(term, 0) + 1
    scores = np.zeros(len(texts))
    for term, times in terms.items():
        padded = pc.binary_join_element_wise("", texts, "", " ")
        tf = pc.count_substring_regex(padded, rf"\b{term}\b").to_numpy().astype(float)
        holding = np.count_nonzero(tf)
        idf = np.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        scores += times * idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * lengths / mean))
    return np.sort(scores)[::-1][:K]


def measure(
    bench: Bench, title: str, texts: pa.Array, queries: list[str], peers: Sequence[Any]
) -> dict[str, float]:
    speeds = {}
    for make in peers:
        folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
        try:
            start = time.perf_counter()
            engine = make(folder)
            engine.load(texts)
            built = time.perf_counter() - start
            some = sum(seconds(engine.search, query) for query in queries[:5]) / 5
            asked = queries if some < 0.05 else queries[5:25]
            first = sum(seconds(engine.search, query) for query in asked)
            rate, p50, p99 = timed(engine.search, asked, 3 if some < 0.05 else 1)
            speeds[engine.name] = rate
            if engine.name == "headwater":
                for query in queries[: 5 if bench.quick else 20]:
                    full = scored_in_full(texts, query)
                    assert np.allclose(engine.search(query), full[full > 0], atol=1e-4), query
            bench.row(
                data=title,
                engine=engine.name,
                load_s=built,
                first_qps=len(asked) / first,
                qps=rate,
                p50_ms=p50,
                p99_ms=p99,
                index_mb=engine.index_bytes() / 1e6,
                raw_mb=texts.nbytes / 1e6,
            )
            engine.close()
        except ImportError as error:
            print(f"{make.name}: not installed ({error})", file=sys.stderr)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return speeds


def cranfield() -> tuple[pa.Array, list[str]] | None:
    """The abstracts and questions, as words of ASCII letters and digits; None where the collection is absent."""
    from quality import read_cranfield

    found = read_cranfield()
    if found is None:
        return None
    cleaned = [
        pc.replace_substring_regex(pc.utf8_lower(pa.array(part)), "[^a-z0-9]+", " ") for part in found[:2]
    ]
    return pc.utf8_trim_whitespace(cleaned[0]), cleaned[1].to_pylist()


def main() -> None:
    bench = Bench.from_args("text")
    n = 40_000 if bench.quick else 500_000
    texts, tokens, words = documents(n, 20_000 if bench.quick else 150_000)
    queries = questions(tokens, words, 200 if bench.quick else 500)
    speeds = measure(bench, f"{n:,} generated", texts, queries, (Headwater, Tantivy, LanceDb, Milvus))
    real = cranfield()
    if real is not None:
        measure(bench, "cranfield", *real, (Headwater, Tantivy, LanceDb, Milvus))
    ours = speeds["headwater"]
    for name, goal in (("tantivy", 0.5), ("lancedb", 2.0), ("milvus lite", 2.0)):
        if name in speeds:
            bench.at_least(f"queries/s, times {name}", ours / speeds[name], goal)
    bench.finish()


if __name__ == "__main__":
    main()
