"""Declaring schema functions: what fits is kept as it was said, what does not is refused by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pytest

import headwater as hw
from headwater import errors
from headwater.schema import FieldType, Function, Schema, validate

TEXT = FieldType(hw.DataType.VARCHAR, max_length=1000, analyzer='{"type": "standard"}')
FIELDS = {
    "id": hw.Int64,
    "text": TEXT,
    "title": hw.String,
    "sparse": hw.SparseFloatVector,
    "dense": hw.FloatVector(8),
    "signature": hw.BinaryVector(128),
}


def schema(*functions: Function, **changes: Any) -> Schema:
    return Schema.of({**FIELDS, **changes}, primary_key="id", functions=functions)


def test_a_function_is_kept_as_it_was_declared_through_a_manifest() -> None:
    declared = schema(
        Function("bm25", "BM25", "text", "sparse"),
        Function("embed", "TEXT_EMBEDDING", ["title"], ["dense"], {"provider": "lexical", "dim": 8}),
        Function(
            "near", hw.FunctionType.MINHASH, "text", "signature", {"num_hashes": 4, "token_level": "char"}
        ),
    )
    assert Schema.from_json(declared.to_json()) == declared
    assert declared.functions[1].options == {"provider": "lexical", "dim": 8}
    assert declared.virtual == {"sparse"}
    assert declared.readable_names == ("id", "text", "title", "dense", "signature")
    assert [field.name for field in declared.stored_fields] == list(declared.readable_names)
    assert declared.given.names == ("id", "text", "title")


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (("f", "BM26", "text", "sparse"), errors.InvalidArgument, "BM26"),
        (("f", "BM25", "txt", "sparse"), errors.FieldNotFound, "'txt'"),
        (("f", "BM25", "text", "spars"), errors.FieldNotFound, "'spars'"),
        (("f", "BM25", "title", "sparse"), errors.InvalidArgument, "analyzer"),
        (("f", "BM25", "id", "sparse"), errors.InvalidArgument, "reads a text"),
        (("f", "BM25", "text", "dense"), errors.InvalidArgument, "sparse_float_vector"),
        (("f", "BM25", ["text", "title"], "sparse"), errors.InvalidArgument, "reads one field"),
        (("f", "BM25", "text", ["sparse", "dense"]), errors.InvalidArgument, "one output"),
        (("f", "BM25", "text", "sparse", {"k": 1}), errors.UnsupportedOption, "'k'"),
        (("f", "TEXT_EMBEDDING", "title", "sparse"), errors.InvalidArgument, "float_vector"),
        (("f", "TEXT_EMBEDDING", "title", "dense", {"dim": 9}), errors.InvalidArgument, "dim is 9"),
        (("f", "MINHASH", "title", "dense"), errors.InvalidArgument, "binary_vector"),
        (("f", "MINHASH", "title", "signature", {"num_hashes": 5}), errors.InvalidArgument, "160 bits"),
        (("f", "MINHASH", "title", "signature", {"token_level": "line"}), errors.InvalidArgument, "'line'"),
        (("f", "MINHASH", "title", "signature", {"shingle_size": 0}), errors.InvalidArgument, "shingle_size"),
        (("f", "MINHASH", "title", "id"), errors.InvalidArgument, "primary key"),
        (("", "BM25", "text", "sparse"), errors.InvalidArgument, "empty"),
        (("f", "TEXT_EMBEDDING", "title", "dense", {"x": object()}), errors.InvalidArgument, "JSON"),
    ],
)
def test_a_function_that_does_not_fit_is_refused_by_name(
    function: tuple[Any, ...], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        schema(Function(*function))


def test_two_functions_may_not_share_a_name_or_an_output_nor_chain() -> None:
    with pytest.raises(errors.InvalidArgument, match="used twice"):
        schema(Function("f", "BM25", "text", "sparse"), Function("f", "TEXT_EMBEDDING", "title", "dense"))
    with pytest.raises(errors.InvalidArgument, match="two functions"):
        schema(
            Function("a", "TEXT_EMBEDDING", "text", "dense"),
            Function("b", "TEXT_EMBEDDING", "title", "dense"),
        )


def test_a_rename_follows_and_a_drop_of_a_used_field_is_refused() -> None:
    renamed = (
        schema(Function("bm25", "BM25", "text", "sparse")).rename("text", "body").rename("sparse", "words")
    )
    assert renamed.function("bm25").inputs == ("body",)
    assert renamed.virtual == {"words"}
    for name, verb in (("body", "reads"), ("words", "fills")):
        with pytest.raises(errors.InvalidArgument, match=f"function 'bm25' {verb} it"):
            renamed.drop(name)
    without = renamed.without_function("bm25")
    assert "words" not in without.names
    assert without.drop("body").names == ("id", "title", "dense", "signature")
    with pytest.raises(errors.FieldNotFound, match="'bm26'"):
        renamed.without_function("bm26")


@pytest.mark.parametrize("dynamic", [False, True])
def test_rows_may_not_bring_what_a_function_fills(dynamic: bool) -> None:
    declared = dataclasses.replace(
        Schema.of(
            {"id": hw.Int64, "text": TEXT, "sparse": hw.SparseFloatVector},
            primary_key="id",
            dynamic=dynamic,
            functions=[Function("bm25", "BM25", "text", "sparse")],
        )
    )
    row = {"id": 1, "text": "a", "sparse": {1: 1.0}}
    for data in (
        [row],
        {name: [value] for name, value in row.items()},
        pa.table({"id": [1], "sparse": ["x"]}),
    ):
        with pytest.raises(errors.InvalidArgument, match="'bm25'"):
            validate(data, declared)
    assert "sparse" not in validate([{"id": 1, "text": "a"}], declared).column_names
