"""Analyzers: a column at once gives what one text at a time gives, and both give what is expected."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa
import pytest

from headwater import errors
from headwater.index.text import Analyzer, Tokens, analyzer_of


def of(params: Any) -> Analyzer:
    return analyzer_of(json.dumps({"type": params} if isinstance(params, str) else params, sort_keys=True))


def column(tokens: Tokens, rows: int) -> list[list[tuple[str, int]]]:
    found: list[list[tuple[str, int]]] = [[] for _ in range(rows)]
    words = tokens.vocabulary.to_pylist()
    for term, row, position in zip(tokens.terms, tokens.rows, tokens.positions, strict=True):
        found[row].append((words[term], int(position)))
    return found


TEXTS = [
    "The quick brown foxes jumped over the lazy dogs!",
    "",
    None,
    "Ärger—im «Donaudampfschiff», naïve café; l'été 2024",
    "x1 y-2 z_3 A.B.C. 10,000 e\u0301 \u00a0 tab\tnew\nline",
    "Москва слезам не верит; ΑΘΗΝΑ हिन्दी भाषा",
    "我来到北京清华大学 and back",
    "  leading and trailing  ",
]
CHAINS: list[Any] = [
    "standard",
    "english",
    "german",
    "russian",
    "arabic",
    "chinese",
    {"type": "standard", "stop_words": ["_english_", "fox"]},
    {"tokenizer": "whitespace", "filter": ["lowercase", "removepunct"]},
    {"tokenizer": "standard", "filter": ["lowercase", "asciifolding", "alphanumonly"]},
    {"tokenizer": "standard", "filter": ["lowercase", {"type": "length", "min": 2, "max": 5}]},
    {
        "tokenizer": "standard",
        "filter": [{"type": "synonym", "synonyms": ["quick, fast", "dogs => hounds, dogs"]}],
    },
    {
        "tokenizer": "standard",
        "filter": ["lowercase", {"type": "decompounder", "word_list": ["donau", "dampf", "schiff"]}],
    },
    {"tokenizer": {"type": "jieba", "mode": "exact", "hmm": False}, "filter": ["cncharonly"]},
    {"tokenizer": "standard", "filter": [{"type": "regex", "expr": "^[a-z]+$"}, "decimaldigit"]},
]


@pytest.mark.parametrize("params", CHAINS, ids=str)
def test_a_column_gives_what_its_texts_give(params: Any) -> None:
    analyzer = of(params)
    found = column(analyzer.analyze(pa.array(TEXTS, pa.string())), len(TEXTS))
    for text, terms in zip(TEXTS, found, strict=True):
        assert terms == analyzer.terms(text or "")
        tokens = analyzer.tokens(text or "")
        assert [(token.term, token.position) for token in tokens] == terms
        assert all(0 <= token.start < token.stop <= len(text or "") for token in tokens)


def test_a_column_in_several_chunks_is_one_column() -> None:
    analyzer = of("english")
    texts = [text for _ in range(40) for text in TEXTS]
    whole = pa.array(texts, pa.string())
    pieces = pa.chunked_array([whole.slice(0, 7), whole.slice(7, 100), whole.slice(107)])
    assert column(analyzer.analyze(pieces), len(texts)) == column(analyzer.analyze(whole), len(texts))
    assert (
        column(analyzer.analyze(pieces.slice(3, 30)), 30) == column(analyzer.analyze(whole), len(texts))[3:33]
    )
    assert len(analyzer.analyze(pa.chunked_array([], pa.string())).terms) == 0


def words(params: Any, text: str) -> list[str]:
    return [term for term, _ in of(params).terms(text)]


def test_presets_cut_texts_as_their_languages_do() -> None:
    assert words("standard", "The Quick-Brown fox's 2nd") == ["the", "quick", "brown", "fox", "s", "2nd"]
    assert words("english", "The running foxes of the easily caught") == ["run", "fox", "easili", "caught"]
    assert words("german", "Die Häuser und der Garten") == ["haus", "gart"]
    assert words("chinese", "我来到北京 清华大学!") == [
        "我",
        "来到",
        "北京",
        "清华",
        "华大",
        "大学",
        "清华大学",
    ]


def test_positions_count_words_that_filters_drop() -> None:
    assert of("english").terms("state of the art") == [("state", 0), ("art", 3)]


def test_the_standard_tokenizer_is_words_of_any_script() -> None:
    for text in TEXTS:
        plain = [word for word in re.findall(r"[^\W_]+", (text or "").lower())]
        if text is None or not re.search("[\u0300-\u036f\u0900-\u097f]", text):
            assert words("standard", text or "") == plain


def test_filters_do_what_they_are_named() -> None:
    def cut(*filters: Any, text: str, tokenizer: Any = "whitespace") -> list[str]:
        return words({"tokenizer": tokenizer, "filter": list(filters)}, text)

    assert cut("asciifolding", text="naïve café") == ["naive", "cafe"]
    assert cut("removepunct", text="a , !? b.") == ["a", "b."]
    assert cut("cnalphanumonly", text="a1 北京 é b-c") == ["a1", "北京"]
    assert cut("cncharonly", text="a1 北京") == ["北京"]
    assert cut({"type": "length", "max": 2}, text="a bb ccc") == ["a", "bb"]
    assert cut({"type": "stop", "stop_words": ["_english_", "fox"]}, text="the fox and dog") == ["dog"]
    assert cut({"type": "stemmer", "language": "french"}, text="continuelles") == ["continuel"]
    assert cut({"type": "regex", "expr": "^b"}, text="ab ba") == ["ba"]
    assert cut("decimaldigit", text="٣٤") == ["34"]
    assert sorted(cut({"type": "synonym", "synonyms": ["a, b"]}, text="b")) == ["a", "b"]
    assert cut({"type": "synonym", "synonyms": ["a, b => c"]}, text="b d") == ["c", "d"]
    assert cut({"type": "decompounder", "word_list": ["haus", "tür"]}, text="haustür") == ["haus", "tür"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The example of Unicode's annex.
        (
            "The quick (\u201cbrown\u201d) fox can\u2019t jump 32.3 feet, right?",
            "The| |quick| |(|\u201c|brown|\u201d|)| |fox| |can\u2019t| |jump| |32.3| |feet|,| |right|?",
        ),
        # The example of Milvus's documentation.
        ("Привет! Как дела?", "Привет|!| |Как| |дела|?"),
        ("a_b 3,456.78 U.S.A. x\r\ny", "a_b| |3,456.78| |U.S.A|.| |x|\r\n|y"),
        ("cafe\u0301 안녕 カタカナ中文测试", "cafe\u0301| |안녕| |カタカナ|中文|测试"),
        ("", ""),
    ],
)
def test_icu_cuts_texts_by_the_rules_of_unicode(text: str, expected: str) -> None:
    analyzer = of({"tokenizer": "icu"})
    assert [token.term for token in analyzer.tokens(text)] == (expected.split("|") if expected else [])
    assert [text[token.start : token.stop] for token in analyzer.tokens(text)] == (
        expected.split("|") if expected else []
    )
    plain = of({"tokenizer": "icu", "filter": ["removepunct"]}).tokens("Привет! Как дела?")
    assert [token.term for token in plain if token.term.strip()] == ["Привет", "Как", "дела"]


@pytest.mark.parametrize(
    ("params", "hint"),
    [
        ({"type": "klingon"}, "standard"),
        ({"tokenizer": "lindera"}, "jieba"),
        ({"tokenizer": "standard", "filter": ["pinyin"]}, "lowercase"),
        ({"tokenizer": "standard", "filter": [{"type": "length", "longest": 3}]}, "max"),
        ({"tokenizer": "standard", "filter": [{"type": "stemmer", "language": "klingon"}]}, "german"),
        ({"tokenizer": "standard", "filter": [{"type": "stop", "stop_words": ["_klingon_"]}]}, "_german_"),
        ({"tokenizer": "standard", "char_filter": []}, "filter"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_known(params: Any, hint: str) -> None:
    with pytest.raises(errors.UnsupportedOption) as caught:
        of(params)
    assert hint in (caught.value.hint or "")
