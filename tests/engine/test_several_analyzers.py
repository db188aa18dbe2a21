"""Analyzers that a field chooses among, and the files of words that they use."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.errors import AlreadyExists, InvalidArgument, ObjectNotFound, UnsupportedOption

MULTI = {
    "by_field": "language",
    "analyzers": {
        "english": {"type": "english"},
        "plain": {"tokenizer": "whitespace"},
        "default": {"tokenizer": "standard"},
    },
    "alias": {"en": "english"},
}
ROWS = [
    {"id": 1, "language": "english", "text": "Running Dogs"},
    {"id": 2, "language": "en", "text": "dogs that ran"},
    {"id": 3, "language": "plain", "text": "Dogs run!"},
    {"id": 4, "language": "klingon", "text": "Dogs running"},
    {"id": 5, "language": None, "text": "dog"},
]


def _multi(db: hw.Database, name: str = "docs") -> hw.Collection:
    schema = hw.Schema.of(
        [
            hw.Field("id", hw.Int64),
            hw.Field("language", hw.VarChar(20), nullable=True),
            hw.Field("text", hw.VarChar(200, analyzer=MULTI)),
            hw.Field("sparse", hw.SparseFloatVector),
        ],
        primary_key="id",
        functions=[hw.Function("bm25", "BM25", "text", "sparse")],
    )
    return db.create_collection(name, schema)


def _found(docs: hw.Collection, text: str, analyzer: str | None = None) -> set[int]:
    params = {} if analyzer is None else {"analyzer_name": analyzer}
    [hits] = docs.search([text], anns_field="sparse", top_k=10, params=params)
    return {hit["id"] for hit in hits}


@pytest.mark.parametrize("sealed", [False, True], ids=["growing", "sealed and indexed"])
def test_each_row_is_cut_by_the_analyzer_that_its_field_names(tmp_path: Path, sealed: bool) -> None:
    docs = _multi(hw.connect(tmp_path))
    docs.insert(ROWS)
    if sealed:
        docs.create_index("sparse", "SPARSE_INVERTED_INDEX")
    # English stems: 'dogs' is 'dog' in rows 1 and 2; row 5 says 'dog' itself, by the default analyzer.
    assert _found(docs, "dogs", "english") == {1, 2, 5}
    assert _found(docs, "dogs", "en") == {1, 2, 5}
    # The plain and default ones keep case and endings.
    assert _found(docs, "Dogs", "plain") == {3, 4}
    assert _found(docs, "run!", "plain") == {3}
    # None, and a name that there is none of, is the default one.
    assert _found(docs, "running") == _found(docs, "running", "french") == {4}


def test_the_field_that_names_the_analyzer_may_be_renamed(tmp_path: Path) -> None:
    docs = _multi(hw.connect(tmp_path))
    docs.insert(ROWS)
    docs.create_index("sparse", "SPARSE_INVERTED_INDEX")
    docs.rename_column("language", "tongue")
    docs.insert([{"id": 6, "tongue": "english", "text": "dogs"}])
    assert _found(docs, "dogs", "english") == {1, 2, 5, 6}
    docs.optimize()
    assert _found(docs, "dogs", "english") == {1, 2, 5, 6}
    with pytest.raises(InvalidArgument, match="the analyzers of field text are chosen by it"):
        docs.drop_field("tongue")


def test_rows_of_many_analyzers_keep_their_order_of_terms(tmp_path: Path) -> None:
    docs = _multi(hw.connect(tmp_path))
    docs.insert(
        [
            {"id": i, "language": ("english", "plain", "x")[i % 3], "text": f"x b{i % 7} x"}
            for i in range(3000)
        ]
    )
    docs.flush()
    assert docs.count('phrase_match(text, "b3 x")') == sum(i % 7 == 3 for i in range(3000))
    [hits] = docs.search(["b3"], anns_field="sparse", top_k=3000)
    assert {hit["id"] for hit in hits} == {i for i in range(3000) if i % 7 == 3}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"by_field": None}, "must set by_field"),
        ({"by_field": 3}, "by_field must be string"),
        ({"by_field": "nothing"}, "dependent field nothing not exist"),
        ({"by_field": "id"}, "only support by string field, but field id is not string"),
        ({"alias": ["en"]}, "alias must be string map"),
        ({"analyzers": {"english": {"type": "english"}}}, "must set default analyzer"),
        ({"analyzers": {"default": {"type": "dothraki"}}}, "analyzer default params invalid"),
    ],
)
def test_a_wrong_declaration_of_several_analyzers_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    fields = {
        "id": hw.Int64,
        "language": hw.VarChar(20),
        "text": hw.VarChar(99, analyzer={**MULTI, **change}),
    }
    with pytest.raises((InvalidArgument, UnsupportedOption), match=words):
        hw.connect(tmp_path).create_collection("docs", fields, "id")


def test_analyzer_name_is_for_fields_with_several_analyzers(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    schema = hw.Schema.of(
        {"id": hw.Int64, "text": hw.VarChar(99, "standard"), "sparse": hw.SparseFloatVector},
        primary_key="id",
        functions=[hw.Function("bm25", "BM25", "text", "sparse")],
    )
    docs = db.create_collection("one", schema)
    with pytest.raises(InvalidArgument, match="the field has one analyzer"):
        docs.search(["a"], anns_field="sparse", params={"analyzer_name": "english"})


def test_run_analyzer_takes_a_name_for_all_texts_or_one_for_each(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    _multi(db)
    of = {"collection_name": "docs", "field_name": "text"}
    assert db.run_analyzer("Dogs run!", analyzer_names="plain", **of) == ["Dogs", "run!"]
    names = ["english", "default"]
    assert db.run_analyzer(["The Dogs", "The Dogs"], analyzer_names=names, **of) == [["dog"], ["The", "Dogs"]]
    with pytest.raises(InvalidArgument, match="expected one name, or 3, got 2"):
        db.run_analyzer(["a", "b", "c"], analyzer_names=names, **of)


# -- files ----------------------------------------------------------------------------------------------------------


def _stored(tmp_path: Path, key: str, text: str) -> None:
    path = tmp_path / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _remote(name: str, file: str) -> dict[str, str]:
    return {"type": "remote", "resource_name": name, "file_name": file}


def test_a_file_is_named_once_for_the_lake_and_survives_its_original(tmp_path: Path) -> None:
    _stored(tmp_path, "words/stop.txt", "the\n\nis\n")
    db = hw.connect(tmp_path)
    db.files.add("stops", "words/stop.txt")
    db.files.add("stops", "words/stop.txt")
    with pytest.raises(AlreadyExists, match="already exists"):
        db.files.add("stops", "words/other.txt")
    with pytest.raises(ObjectNotFound, match="path not exist"):
        db.files.add("missing", "words/missing.txt")
    analyzer = {
        "tokenizer": "standard",
        "filter": [{"type": "stop", "stop_words_file": _remote("stops", "stop.txt")}],
    }
    docs = db.create_collection("docs", {"id": hw.Int64, "text": hw.VarChar(99, analyzer=analyzer)}, "id")
    docs.insert([{"id": 1, "text": "the sky is blue"}])
    (tmp_path / "words/stop.txt").unlink()
    # Another process, which has made none of the analyzers.
    other = hw.connect(tmp_path)
    assert [one.name for one in other.files.list()] == ["stops"]
    of = {"collection_name": "docs", "field_name": "text"}
    assert other.run_analyzer("the sky is blue", **of) == ["sky", "blue"]
    assert other.collection("docs").count('text_match(text, "the")') == 0
    assert other.collection("docs").count('text_match(text, "sky")') == 1


def test_a_file_in_use_stays(tmp_path: Path) -> None:
    _stored(tmp_path, "a.txt", "a\n")
    db = hw.connect(tmp_path)
    db.files.add("a", "a.txt")
    db.create_database("other")
    analyzer = {
        "tokenizer": "standard",
        "filter": [{"type": "stop", "stop_words_file": _remote("a", "a.txt")}],
    }
    fields = {"id": hw.Int64, "text": hw.VarChar(99, analyzer=analyzer)}
    db.database("other").create_collection("docs", fields, "id")
    with pytest.raises(InvalidArgument, match="is still in use by collection 'docs' of database 'other'"):
        db.files.remove("a")
    db.database("other").drop_collection("docs")
    db.files.remove("a")
    db.files.remove("a")
    assert db.files.list() == []
    with pytest.raises(InvalidArgument, match="not found in local resource list"):
        db.create_collection("docs", fields, "id")


def test_the_files_of_a_declared_external_collection_are_named_by_content(tmp_path: Path) -> None:
    _stored(tmp_path, "a.txt", "the\nis\n")
    (tmp_path / "source").mkdir()
    pq.write_table(pa.table({"text": ["the sky is blue"]}), tmp_path / "source/a.parquet")
    with hw.connect(tmp_path) as db:
        db.files.add("a", "a.txt")
        analyzer = {
            "tokenizer": "standard",
            "filter": [{"type": "stop", "stop_words_file": _remote("a", "a.txt")}],
        }
        text = hw.Field("text", hw.VarChar(99, analyzer=analyzer), source="text")
        docs = db.external.declare("docs", [text], str(tmp_path / "source"))
        db.jobs.wait(db.external.refresh("docs").id)
        assert [docs.count(f'text_match(text, "{word}")') for word in ("sky", "the")] == [1, 0]
        with pytest.raises(InvalidArgument, match="is still in use by collection 'docs'"):
            db.files.remove("a")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"type": "remote", "file_name": "a.txt"}, "resource name of remote file"),
        ({"type": "remote", "resource_name": "a"}, "file name of remote file"),
        ({"type": "unknown", "resource_name": "a", "file_name": "a.txt"}, "unsupported file type"),
        ({"type": "local", "path": "/etc/passwd"}, "unsupported file type"),
        (_remote("b", "a.txt"), "not found in local resource list"),
        (_remote("a", "b.txt"), "file name of remote file is 'b.txt'"),
        ("a.txt", "declared as a mapping"),
    ],
)
def test_a_file_declared_wrongly_is_refused(tmp_path: Path, file: object, words: str) -> None:
    _stored(tmp_path, "a.txt", "a\n")
    db = hw.connect(tmp_path)
    db.files.add("a", "a.txt")
    analyzer = {"tokenizer": "standard", "filter": [{"type": "stop", "stop_words_file": file}]}
    with pytest.raises(InvalidArgument, match=words):
        db.create_collection("docs", {"id": hw.Int64, "text": hw.VarChar(99, analyzer=analyzer)}, "id")


def test_synonyms_compounds_and_dictionaries_come_from_files(tmp_path: Path) -> None:
    pytest.importorskip("rjieba")
    _stored(tmp_path, "syn.txt", "car, auto\nbig => large, huge\n")
    _stored(tmp_path, "parts.txt", "bank\nnote\n")
    _stored(tmp_path, "jieba.txt", "\u5411\u91cf\u6570\u636e\u5e93 20000 n\n")
    db = hw.connect(tmp_path)
    for name, path in (("syn", "syn.txt"), ("parts", "parts.txt"), ("jieba", "jieba.txt")):
        db.files.add(name, path)
    synonyms = {"type": "synonym", "synonyms_file": _remote("syn", "syn.txt")}
    assert set(db.run_analyzer("auto big", {"tokenizer": "standard", "filter": [synonyms]})) == {
        "car", "auto", "large", "huge",
    }  # fmt: skip
    parts = {"type": "decompounder", "word_list_file": _remote("parts", "parts.txt")}
    assert db.run_analyzer("banknote", {"tokenizer": "standard", "filter": [parts]}) == ["bank", "note"]
    text = "\u5411\u91cf\u6570\u636e\u5e93\u662f\u65b0\u4e00\u4ee3"
    jieba = {"tokenizer": {"type": "jieba", "extra_dict_file": _remote("jieba", "jieba.txt")}}
    word = "\u5411\u91cf\u6570\u636e\u5e93"
    assert word in db.run_analyzer(text, jieba)
    assert word not in db.run_analyzer(text, {"tokenizer": "jieba"})
    assert word in db.run_analyzer(text, {"tokenizer": {"type": "jieba", "dict": ["_default_", word]}})


@pytest.mark.parametrize("name", ["lindera", "thai", "language_identifier"])
def test_a_tokenizer_that_there_is_not_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedOption, match=f"tokenizer {name} is not supported"):
        hw.run_analyzer("a", {"tokenizer": {"type": name}})


def test_pinyin_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedOption, match="filter pinyin is not supported"):
        hw.run_analyzer("a", {"tokenizer": "standard", "filter": ["pinyin"]})


def test_arabic_letters_are_folded() -> None:
    folded = {"tokenizer": "standard", "filter": ["decimaldigit", "arabic_normalization"]}
    assert hw.run_analyzer(
        "\u0623\u062d\u0645\u064e\u062f \u0663\u0662 \u0645\u062f\u0631\u0633\u0629", folded
    ) == [
        "\u0627\u062d\u0645\u062f",
        "32",
        "\u0645\u062f\u0631\u0633\u0647",
    ]


@pytest.mark.parametrize(
    ("phrase", "text", "slop"),
    [
        ("quick fox", "the quick fox", 0),
        ("quick fox", "the quick brown fox", 1),
        ("quick fox", "fox quick", 2),
        ("quick fox", "quick", None),
        ("a b", "a x b a y y b", 1),
        ("", "a", None),
    ],
)
def test_the_least_slop_is_that_with_which_phrase_match_first_matches(
    tmp_path: Path, phrase: str, text: str, slop: int | None
) -> None:
    db = hw.connect(tmp_path)
    assert db.least_slops("standard", phrase, [text]) == [slop]
    docs = db.create_collection("docs", {"id": hw.Int64, "text": hw.VarChar(99, "standard")}, "id")
    docs.insert([{"id": 1, "text": text}])
    for asked in range(4):
        matched = docs.count(f"phrase_match(text, {json.dumps(phrase)}, {asked})")
        assert matched == (slop is not None and asked >= slop)
