"""The inverted index against scoring every row, in memory and from its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headwater import errors, trace
from headwater.index.text import (
    Norms,
    Postings,
    Scoring,
    WeightedTerm,
    analyzer_of,
    invert_sparse,
    invert_texts,
    match_fuzzy,
    match_phrase,
    match_terms,
    open_postings,
    score,
    score_all,
    top_rows,
    varint,
    write_postings,
)
from headwater.index.text.postings import MemoryPostings
from headwater.store import open_store
from headwater.tiers import open_object

STANDARD = analyzer_of('{"type": "standard"}')


def mapped(postings: MemoryPostings, folder: Path) -> Postings:
    write_postings(postings, folder / "a.hwx")
    return open_postings(open_object(open_store(folder), "a.hwx"))


def zipf_texts(n: int, vocabulary: int, seed: int) -> list[str | None]:
    rng = np.random.default_rng(seed)
    chances = 1 / np.arange(1, vocabulary + 1)
    lengths = rng.integers(0, 40, n)
    words = rng.choice(vocabulary, int(lengths.sum()), p=chances / chances.sum())
    texts: list[str | None] = [
        " ".join(f"w{word}" for word in part) for part in np.split(words, np.cumsum(lengths)[:-1])
    ]
    for row in rng.integers(0, n, n // 50):
        texts[row] = None
    return texts


def test_numbers_survive_base_128() -> None:
    rng = np.random.default_rng(0)
    for top in (1, 100, 200, 1 << 14, 1 << 22, 1 << 32):
        numbers = rng.integers(0, top, 1000).astype(np.uint32)
        data, starts = varint.encode(numbers)
        assert varint.decode(data).tolist() == numbers.tolist()
        assert len(data) == starts[-1]


@pytest.mark.parametrize("n", [5, 1003, 30_000])
@pytest.mark.parametrize("pruned", [True, False])
def test_a_search_finds_what_scoring_every_row_finds(
    n: int, pruned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "_fewer_in_all", lambda *_: not pruned)
    memory = invert_texts(pa.array(zipf_texts(n, 3000, n), pa.string()), STANDARD)
    postings = mapped(memory, tmp_path)
    assert memory.lengths is not None
    rng = np.random.default_rng(1)
    norms = Norms(1.2 * 0.25, 1.2 * 0.75 / float(memory.lengths[memory.lengths >= 0].mean()))
    for trial in range(60):
        numbers = rng.choice(
            len(memory.vocabulary), min(len(memory.vocabulary), rng.integers(1, 8)), replace=False
        )
        terms = [WeightedTerm(int(number), float(rng.random() * 5 + 0.1)) for number in numbers]
        k = int(rng.choice([1, 10, 100]))
        allowed = rng.random(n) < 0.3 if trial % 3 == 0 else None
        above = float(rng.random() * 3) if trial % 4 == 0 else 0.0
        up_to = above + 1 if trial % 8 == 0 else None
        # Means that drift use bounds worked out for another one.
        drifted = Norms(norms.base, norms.slope * float(rng.uniform(0.9, 1.1)))
        scoring = Scoring(drifted, above, up_to)
        every = score_all(memory, terms, scoring)
        counts = every > above
        if allowed is not None:
            counts &= allowed
        if up_to is not None:
            counts &= every <= up_to
        order = np.lexsort((np.arange(n), -every))
        expected = order[counts[order]][:k]
        for source in (memory, postings):
            scores, rows = top_rows(source, terms, k, scoring, allowed=allowed)
            assert rows.tolist() == expected.tolist()
            assert scores.tolist() == every[expected].tolist()


def test_scores_are_those_of_the_formula() -> None:
    texts = ["a b a", "b c", "", "a c c c"]
    postings = invert_texts(pa.array(texts), STANDARD)
    number = postings.vocabulary.find("a")
    [first, _, _, last] = score_all(postings, [WeightedTerm(number, 2.0)], Scoring(Norms(0.3, 0.4)))
    assert first == pytest.approx(2.0 * 2 / (2 + 0.3 + 0.4 * 3))
    assert last == pytest.approx(2.0 * 1 / (1 + 0.3 + 0.4 * 4))


def test_sparse_vectors_are_scored_by_their_inner_product(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    n, dims = 4000, 500
    dense = np.where(rng.random((n, dims)) < 0.05, rng.random((n, dims)), 0).astype(np.float32)
    rows = [
        None if i % 97 == 0 else [{"index": int(d) * 7, "value": float(row[d])} for d in np.flatnonzero(row)]
        for i, row in enumerate(dense)
    ]
    dense[::97] = 0
    kind = pa.list_(pa.struct([("index", pa.uint32()), ("value", pa.float32())]))
    memory = invert_sparse(pa.array(rows, kind))
    postings = mapped(memory, tmp_path)
    for _ in range(20):
        chosen = rng.choice(dims, 30, replace=False)
        weights = rng.random(30).astype(np.float32)
        exact = dense[:, chosen].astype(np.float64) @ weights
        found = [
            (postings.vocabulary.find(int(d) * 7), float(w)) for d, w in zip(chosen, weights, strict=True)
        ]
        terms = [WeightedTerm(number, weight) for number, weight in found if number >= 0]
        scores, best = top_rows(postings, terms, 10, Scoring())
        assert np.allclose(scores, np.sort(exact)[::-1][:10], atol=1e-5)
        assert np.allclose(exact[best], scores, atol=1e-5)


def brute_phrase(words: list[str], phrase: list[str], slop: int) -> bool:
    import itertools

    places = [[at - i for at, word in enumerate(words) if word == one] for i, one in enumerate(phrase)]
    return any(max(choice) - min(choice) <= slop for choice in itertools.product(*places))


def test_phrases_match_within_their_slop(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [list(rng.choice(list("abcx"), rng.integers(0, 9))) for _ in range(800)]
    memory = invert_texts(pa.array([" ".join(row) for row in rows]), STANDARD)
    for source in (memory, mapped(memory, tmp_path)):
        for phrase in ("a", "a b", "b a", "a a", "a b c", "b a b", "a b c a", "a y"):
            for slop in range(4):
                expected = [brute_phrase(row, phrase.split(), slop) for row in rows]
                assert match_phrase(source, STANDARD, phrase, slop).tolist() == expected, (phrase, slop)


def test_a_dropped_word_keeps_its_place_in_a_phrase() -> None:
    english = analyzer_of('{"type": "english"}')
    source = invert_texts(pa.array(["state of the art", "state art", "art of state"]), english)
    assert match_phrase(source, english, "state of the art").tolist() == [True, False, False]
    assert match_phrase(source, english, "state art", 2).tolist() == [True, True, False]
    assert match_phrase(source, english, "state art", 3).tolist() == [True, True, True]


def test_terms_match_by_number_and_by_likeness() -> None:
    source = invert_texts(pa.array(["green apple pie", "apple", "grape", None, "pies"]), STANDARD)
    assert match_terms(source, STANDARD, "apple grape").tolist() == [True, True, True, False, False]
    assert match_terms(source, STANDARD, "Apple PIE nothing", 2).tolist() == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert match_terms(source, STANDARD, "apple", 2).tolist() == [False] * 5
    assert match_terms(source, STANDARD, "...").tolist() == [False] * 5
    assert match_fuzzy(source, STANDARD, "aple", 1).tolist() == [True, True, False, False, False]
    assert match_fuzzy(source, STANDARD, "pie", 1).tolist() == [True, False, False, False, True]
    assert match_fuzzy(source, STANDARD, "gripe", 1).tolist() == [False, False, True, False, False]
    assert match_fuzzy(source, STANDARD, "gripe", 0).tolist() == [False] * 5


def test_an_edit_of_a_term_may_swap_two_letters() -> None:
    from headwater.index.text.match import _similar

    def distance(a: str, b: str) -> int:
        table = {(i, j): max(i, j) for i in range(len(a) + 1) for j in range(len(b) + 1) if not i * j}
        for i in range(1, len(a) + 1):
            for j in range(1, len(b) + 1):
                ways = [
                    table[i - 1, j] + 1,
                    table[i, j - 1] + 1,
                    table[i - 1, j - 1] + (a[i - 1] != b[j - 1]),
                ]
                if i > 1 < j and a[i - 2 : i] == b[j - 2 : j][::-1]:
                    ways.append(table[i - 2, j - 2] + 1)
                table[i, j] = min(ways)
        return table[len(a), len(b)]

    rng = np.random.default_rng(8)
    words = sorted({"".join(rng.choice(list("abcé"), rng.integers(1, 7))) for _ in range(500)})
    for word in words[::25]:
        for edits in range(3):
            expected = [i for i, one in enumerate(words) if distance(one, word) <= edits]
            assert _similar(pa.array(words), word, edits) == expected


def test_an_altered_run_is_corrupt_and_never_a_wrong_answer(tmp_path: Path) -> None:
    memory = invert_texts(pa.array(zipf_texts(500, 50, 2), pa.string()), STANDARD)
    write_postings(memory, tmp_path / "a.hwx")
    data = bytearray((tmp_path / "a.hwx").read_bytes())
    source = open_postings(open_object(open_store(tmp_path), "a.hwx"))
    at = source._postings_at + int(source._directory["start"][7])
    data[at] ^= 1
    (tmp_path / "b.hwx").write_bytes(bytes(data))
    broken = open_postings(open_object(open_store(tmp_path), "b.hwx"))
    assert broken.postings(8)[0].tolist() == memory.postings(8)[0].tolist()
    with pytest.raises(errors.Corrupt, match="term 7"):
        broken.postings(7)


def test_many_rows_of_many_terms_survive_the_file(tmp_path: Path) -> None:
    memory = invert_texts(pa.array(zipf_texts(3000, 700, 4), pa.string()), STANDARD)
    postings = mapped(memory, tmp_path)
    assert postings.lengths is not None
    assert memory.lengths is not None
    assert postings.lengths.tolist() == memory.lengths.tolist()
    for number in range(len(memory.vocabulary)):
        assert postings.vocabulary.find(memory.vocabulary.terms[number].as_py()) == number
        for one, other in zip(postings.postings(number), memory.postings(number), strict=True):
            assert one.tolist() == other.tolist()
        assert postings.positions(number).tolist() == memory.positions(number).tolist()
    assert postings.vocabulary.find("absent") == -1


def test_the_terms_of_an_index_that_is_gone_are_forgotten() -> None:
    from headwater.index.text import hot_term
    from headwater.index.text.hot import _cache

    kept = invert_texts(pa.array(["a b", "b c"]), STANDARD)
    hot_term(kept, 0)
    gone = invert_texts(pa.array(["a b", "b c"]), STANDARD)
    serial = gone.serial
    hot_term(gone, 0)
    assert serial in _cache._numbers
    del gone
    hot_term(kept, 1)
    assert serial not in _cache._numbers
    assert (kept.serial, 0) in _cache._terms
    assert all(key[0] != serial for key in _cache._terms)
    assert _cache._used == sum(term.size_bytes for term in _cache._terms.values())


def test_a_cold_index_is_read_by_the_runs_of_its_terms(tmp_path: Path) -> None:
    memory = invert_texts(pa.array(zipf_texts(20_000, 5000, 6), pa.string()), STANDARD)
    write_postings(memory, tmp_path / "a.hwx")
    store = open_store("memory://cold-postings")
    store.put("a.hwx", (tmp_path / "a.hwx").read_bytes())
    source = open_object(store, "a.hwx")
    assert source.tier == "cold"
    cold = open_postings(source)
    with trace.record("search") as step:
        terms = [WeightedTerm(number, 1.0) for number in (3, 40, 77)]
        scores, rows = top_rows(cold, terms, 10, Scoring(Norms(0.3, 0.02)))
    assert 0 < step.total("ranges_read") <= 3
    assert step.total("bytes_read") < source.size_bytes / 20
    warm_scores, warm_rows = top_rows(memory, terms, 10, Scoring(Norms(0.3, 0.02)))
    assert rows.tolist() == warm_rows.tolist()
    assert scores.tolist() == warm_scores.tolist()
