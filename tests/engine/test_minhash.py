"""MINHASH: signatures estimate the overlap of texts, and near-duplicates are found through bands of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater import errors
from headwater.jobs.minhash import MinHasher

WORDS = [f"w{i}" for i in range(400)]


def texts(n: int, length: int = 40, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, length)) for _ in range(n)]


def edited(text: str, changes: int, rng: np.random.Generator) -> str:
    words = text.split()
    for place in rng.choice(len(words), changes, replace=False):
        words[place] = rng.choice(WORDS)
    return " ".join(words)


def shingles(text: str, size: int, level: str) -> set[Any]:
    parts = text.lower().split() if level == "word" else list(text)
    return {tuple(parts[i : i + size]) for i in range(max(1, len(parts) - size + 1))}


@pytest.mark.parametrize("level", ["word", "char"])
@pytest.mark.parametrize("size", [1, 3])
def test_agreement_estimates_jaccard_within_its_bound(level: str, size: int) -> None:
    rng = np.random.default_rng(1)
    base = texts(60)
    near = [edited(text, int(rng.integers(0, 30)), rng) for text in base]
    hashes = 512
    hasher = MinHasher(hashes, size, level)
    a, b = (hasher.signatures(side).view("<u4") for side in (base, near))
    estimated = (a == b).mean(axis=1)
    sets = [(shingles(x, size, level), shingles(y, size, level)) for x, y in zip(base, near, strict=True)]
    true = np.array([len(x & y) / len(x | y) for x, y in sets])
    # A binomial share of 512: its error is within 4.5 deviations, for all of 60.
    bound = 4.5 * np.sqrt(np.maximum(true * (1 - true), 1 / hashes) / hashes)
    assert (np.abs(estimated - true) <= bound).all()
    assert abs((estimated - true).mean()) < 0.01


def test_equal_sets_have_equal_signatures_whatever_stands_around_them() -> None:
    hasher = MinHasher(64, 2, "word")
    many = [
        "",
        "one",
        "a b c",
        "A,  b; c!",
        "c b a",
        "schöne Grüße",
        "schöne grüße",
        "日本",
        *texts(3000, 20),
    ]
    together = hasher.signatures(many)
    alone = np.concatenate([hasher.signatures([text]) for text in many[:50]])
    np.testing.assert_array_equal(together[:50], alone)
    assert (together[2] == together[3]).all()
    assert (together[2] != together[4]).any()
    assert (together[5] == together[6]).all()
    assert len({row.tobytes() for row in together[:8]}) == 6
    assert (MinHasher(64, 2, "word", seed=2).signatures(["a b c"]) != together[2]).any()


def test_signatures_are_the_same_in_every_process() -> None:
    here = MinHasher(8, 3, "char", 7).signatures(["Headwater", "a"]).tobytes().hex()
    program = (
        "from headwater.jobs.minhash import MinHasher\n"
        "print(MinHasher(8, 3, 'char', 7).signatures(['Headwater', 'a']).tobytes().hex())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == here
    # A change of the algorithm would make stored signatures useless: it must be a new parameter.
    assert here.startswith("a190a309fd01c91bd51312062f2a8112")


MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(value: int, seed: int = 0) -> int:
    value = (value + (seed + 1) * GOLDEN) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def as_specified(text: str, hashes: int, size: int, level: str, seed: int) -> list[int]:
    """A signature by the words of docs/format/indexes.md, one number at a time."""
    if level == "char":
        parts = [mix(ord(character)) for character in text]
    else:
        words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
        parts = [mix(sum(mix(ord(c) + (i << 32)) for i, c in enumerate(word)) & MASK) for word in words]
    parts += [0] * (size - len(parts))
    shingle_hashes = []
    for start in range(len(parts) - size + 1):
        folded = 0
        for part in parts[start : start + size]:
            folded = (folded * 0x100000001B3 + part) & MASK
        shingle_hashes.append(mix(folded) >> 32)
    return [
        min((((mix(2 * i, seed) | 1) * one + mix(2 * i + 1, seed)) & MASK) >> 32 for one in shingle_hashes)
        for i in range(hashes)
    ]


@pytest.mark.parametrize("level", ["word", "char"])
def test_signatures_are_those_of_the_specification(level: str) -> None:
    some = ["", "a", "Lakes, rivers & springs", "größer als 3 Häuser", "数据湖仓", *texts(5, 12)]
    made = MinHasher(6, 3, level, 11).signatures(some).view("<u4")
    assert made.tolist() == [as_specified(text, 6, 3, level, 11) for text in some]


def collection(path: Path, *, hashes: int = 128, **params: Any) -> hw.Collection:
    fields = {"id": hw.Int64, "text": hw.String, "signature": hw.BinaryVector(32 * hashes)}
    function = hw.Function("near", "MINHASH", "text", "signature", {"num_hashes": hashes, **params})
    return hw.connect(path).create_collection("docs", fields, "id", functions=[function])


def test_near_duplicates_are_found_with_and_without_an_index(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    base = texts(3000)
    copies = [edited(text, 3, rng) for text in base[:200]]
    col = collection(tmp_path)
    col.insert({"id": range(3200), "text": base + copies})
    exact = col.search(base[:200], anns_field="signature", top_k=2)
    assert all(hits[0]["id"] == i and hits[0]["distance"] == 1 for i, hits in enumerate(exact))
    found = np.mean([hits[1]["id"] == 3000 + i for i, hits in enumerate(exact)])
    assert found >= 0.99
    col.create_index("signature", "MINHASH_LSH", metric_type="MHJACCARD", params={"mh_lsh_band": 32})
    assert col.describe()["indexes"][0]["kind"] == "minhash_lsh"
    near = col.search(base[:200], anns_field="signature", top_k=2)
    agree = np.mean([a[1] == b[1] for a, b in zip(exact, near, strict=True)])
    assert agree >= 0.99
    within = col.search(base[:200], anns_field="signature", top_k=50, params={"radius": 0.4})
    assert all(hit["distance"] > 0.4 for hits in within for hit in hits)
    assert np.mean([{3000 + i, i} <= {hit["id"] for hit in hits} for i, hits in enumerate(within)]) >= 0.98
    filtered = col.search(
        base[:5], anns_field="signature", top_k=3, filter="id >= 3000", params={"refine_k": 5}
    )
    assert [hits[0]["id"] for hits in filtered] == [3000, 3001, 3002, 3003, 3004]
    assert all(len(hits) == 3 for hits in filtered)


def test_signatures_of_growing_sealed_and_compacted_rows_are_one(tmp_path: Path) -> None:
    col = collection(tmp_path, hashes=16, token_level="char", shingle_size=4, seed=3)
    some = texts(40, 5)
    for start in range(0, 40, 10):
        col.insert({"id": range(start, start + 10), "text": some[start : start + 10]})
        if start < 30:
            col.flush()
    expected = [row.tobytes() for row in MinHasher(16, 4, "char", 3).signatures(some)]
    assert [bytes(row["signature"]) for row in col.query(order_by="id")] == expected
    col.optimize()
    assert [bytes(row["signature"]) for row in col.query(order_by="id")] == expected


def test_an_index_of_signatures_needs_no_metric(tmp_path: Path) -> None:
    col = collection(tmp_path, hashes=8)
    col.insert({"id": range(60), "text": texts(60)})
    before = col.search(texts(60)[:3], top_k=4)
    assert col.create_index("signature").rows == 60
    [spec] = col.describe()["indexes"]
    assert (spec["kind"], spec["metric"]) == ("minhash_lsh", "MHJACCARD")
    for scored in (True, False):
        found = col.search(texts(60)[:3], top_k=4, params={"mh_search_with_jaccard": scored})
        assert [hits[0] for hits in found] == [hits[0] for hits in before]
    with pytest.raises(errors.InvalidArgument, match="mh_search_with_jaccard must be true or false"):
        col.search(texts(1), params={"mh_search_with_jaccard": 1})
    col.optimize()
    assert col.health()["indexes"][0]["recall"] == 1.0


@pytest.mark.parametrize("level", ["char", "word"])
def test_shingles_are_hashed_by_sha1_where_that_is_asked_for(tmp_path: Path, level: str) -> None:
    col = collection(tmp_path, hashes=256, hash_function="sha1", token_level=level)
    base = "a lake of tables on object storage holds what is true of each day and night of the year"
    near = base.replace("true", "said")
    col.insert({"id": [1, 2, 3, 4], "text": [base, near, "engines burn petrol and make noise", ""]})
    [hits] = col.search([base], anns_field="signature", top_k=4)
    assert (hits[0]["id"], hits[0]["distance"], hits[1]["id"]) == (1, 1.0, 2)
    words = [text.split() if level == "word" else text for text in (base, near)]
    sets = [{tuple(one[i : i + 3]) for i in range(len(one) - 2)} for one in words]
    assert hits[1]["distance"] == pytest.approx(len(sets[0] & sets[1]) / len(sets[0] | sets[1]), abs=0.12)
    fast = MinHasher(256, 3, level, 1).signatures([base])
    assert bytes(col.query(filter="id == 1")[0]["signature"]) != fast.tobytes()
    with pytest.raises(errors.InvalidArgument, match="hash_function must be 'xxhash64' or 'sha1', got 'md5'"):
        collection(tmp_path / "other", hash_function="md5")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    col = db.create_collection(
        "bits", {"id": hw.Int64, "b": hw.BinaryVector(40), "v": hw.FloatVector(4)}, "id"
    )
    with pytest.raises(errors.InvalidArgument, match="32 bits"):
        col.create_index("b", "MINHASH_LSH")
    with pytest.raises(errors.InvalidArgument, match="MINHASH_LSH does not fit"):
        col.create_index("v", "MINHASH_LSH")
    other = db.create_collection("hashes", {"id": hw.Int64, "b": hw.BinaryVector(64)}, "id")
    with pytest.raises(errors.InvalidArgument, match="MHJACCARD"):
        other.create_index("b", "MINHASH_LSH", metric_type="HAMMING")
    with pytest.raises(errors.InvalidArgument, match="at most 2"):
        other.create_index("b", "MINHASH_LSH", params={"mh_lsh_band": 3})
    with pytest.raises(errors.InvalidArgument, match="mh_element_bit_width"):
        other.create_index("b", "MINHASH_LSH", params={"mh_element_bit_width": 16})
    with pytest.raises(errors.UnsupportedOption, match="with_raw_data"):
        other.create_index("b", "MINHASH_LSH", params={"with_raw_data": True})
