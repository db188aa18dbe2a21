"""Schema functions: fields that the lake computes from other fields, at insert and when added later."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import FieldNotFound, InvalidArgument, UnsupportedOption
from headwater.schema.fields import Field
from headwater.types import TEXT_TYPES, DataType

__all__ = ["HASH_BITS", "Function", "FunctionType", "check_functions"]

HASH_BITS = 32
"""Bits of one min-hash in a signature."""


class FunctionType(enum.StrEnum):
    """What a schema function computes; the names are Milvus's.

    BM25: a sparse field to search a text field by; nothing is stored, the text index of the field is searched.
    TEXT_EMBEDDING: a dense vector from a text field.
    MINHASH: a binary vector of min-hash signatures from a text field.
    """

    BM25 = "BM25"
    TEXT_EMBEDDING = "TEXT_EMBEDDING"
    MINHASH = "MINHASH"


_PARAMS: dict[FunctionType, tuple[str, ...] | None] = {
    FunctionType.BM25: (),
    FunctionType.TEXT_EMBEDDING: None,
    FunctionType.MINHASH: ("num_hashes", "shingle_size", "token_level", "hash_function", "seed"),
}
"""Parameters of each type; None where what computes it checks them."""


@dataclass(frozen=True, init=False)
class Function:
    """A field that the lake fills in from another one: inserts leave it out.

    Args:
        name: its name, unique in the schema.
        type: `BM25`, `TEXT_EMBEDDING` or `MINHASH`, or a `FunctionType`.
        inputs: the field that it reads, or a list of it.
        output: the field that it fills.
        params: its parameters; of TEXT_EMBEDDING `provider`, `model_name`, `dim`, ...; of MINHASH `num_hashes`,
            `shingle_size`, `token_level` (``"char"`` or ``"word"``), `seed`, and `hash_function`: ``"sha1"``, or by
            default ``"xxhash64"``, in whose place a fast hash of our own stands.

    Attributes:
        name: its name.
        type: what it computes.
        inputs: names of the fields it reads.
        output: name of the field it fills.
        params: JSON text of its parameters, keys sorted; `options` gives them as a mapping.

    Raises:
        InvalidArgument: there is no such type, or the parameters are not JSON values.
    """

    name: str
    type: FunctionType
    inputs: tuple[str, ...]
    output: str
    params: str = "{}"

    def __init__(
        self,
        name: str,
        type: FunctionType | str,
        inputs: str | Sequence[str],
        output: str | Sequence[str],
        params: Mapping[str, Any] | str | None = None,
    ) -> None:
        try:
            kind = FunctionType(str(type).upper())
        except ValueError as error:
            raise InvalidArgument(
                f"function {name!r}: unknown type {str(type)!r}, expected one of {', '.join(FunctionType)}"
            ) from error
        outputs = (output,) if isinstance(output, str) else tuple(output)
        if len(outputs) != 1:
            raise InvalidArgument(f"function {name!r}: expected one output field, got {len(outputs)}")
        text = params if isinstance(params, str) else _json(name, params or {})
        values = {
            "name": name,
            "type": kind,
            "inputs": (inputs,) if isinstance(inputs, str) else tuple(inputs),
            "output": outputs[0],
            "params": text,
        }
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    @property
    def options(self) -> dict[str, Any]:
        """The parameters."""
        options: dict[str, Any] = json.loads(self.params)
        return options

    @property
    def stored(self) -> bool:
        """Whether the output is a column of the collection; that of BM25 is not."""
        return self.type is not FunctionType.BM25

    def unfilled(self, rows: pa.Table) -> pa.Array:
        """(n,) True where a row lacks a value that this function could give: its input is there, its output is not."""
        missing = pc.and_(pc.is_null(rows.column(self.output)), pc.is_valid(rows.column(self.inputs[0])))
        return missing.combine_chunks()

    def renamed(self, old: str, new: str) -> Function:
        """The same function after a field was renamed."""
        inputs = tuple(new if name == old else name for name in self.inputs)
        return Function(self.name, self.type, inputs, new if self.output == old else self.output, self.params)

    def to_json(self) -> dict[str, Any]:
        """The form stored in manifests."""
        return {
            "name": self.name,
            "type": self.type.value,
            "inputs": list(self.inputs),
            "output": self.output,
            "params": self.options,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Function:
        """The inverse of `to_json`."""
        return cls(data["name"], data["type"], data["inputs"], data["output"], data.get("params", {}))


def _json(name: str, params: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(params), sort_keys=True)
    except TypeError as error:
        raise InvalidArgument(f"function {name!r}: its params are not JSON values: {error}") from error


def check_functions(
    functions: Sequence[Function], fields: Mapping[str, Field], keys: Mapping[str, str]
) -> None:
    """Check the functions of a schema against its fields.

    Args:
        functions: of the schema.
        fields: by name.
        keys: fields that no function may fill, and what each is.

    Raises:
        InvalidArgument: two functions have one name or one output, they chain, or a field does not fit; names them.
        FieldNotFound: a function names no field.
        UnsupportedOption: a function has no such parameter.
    """
    names: set[str] = set()
    outputs: dict[str, Function] = {}
    for one in functions:
        if not isinstance(one, Function):
            raise InvalidArgument(f"expected a Function, got {one!r}")
        if not one.name or one.name in names:
            raise InvalidArgument(f"function name {one.name!r} is empty, or used twice in the schema")
        names.add(one.name)
        if one.output in outputs:
            raise InvalidArgument(
                f"field {one.output!r} is the output of two functions, {outputs[one.output].name!r} and {one.name!r}"
            )
        outputs[one.output] = one
    for one in functions:
        _check(one, fields, keys, outputs)


def _check(
    one: Function, fields: Mapping[str, Field], keys: Mapping[str, str], outputs: Mapping[str, Function]
) -> None:
    for name in (*one.inputs, one.output):
        if name not in fields:
            raise FieldNotFound(
                f"function {one.name!r} names the field {name!r}, which is not in the schema",
                hint=f"fields: {', '.join(fields)}",
            )
    if len(one.inputs) != 1:
        raise InvalidArgument(
            f"function {one.name!r}: {one.type} reads one field, got {len(one.inputs)}: {', '.join(one.inputs)}"
        )
    source, target = fields[one.inputs[0]], fields[one.output]
    if source.name in outputs:
        raise InvalidArgument(
            f"function {one.name!r} reads {source.name!r}, the output of function {outputs[source.name].name!r}: "
            "functions do not chain"
        )
    if target.name in keys:
        raise InvalidArgument(
            f"function {one.name!r}: its output {target.name!r} is the {keys[target.name]}, which rows must bring"
        )
    if target.default is not None:
        raise InvalidArgument(f"function {one.name!r}: its output {target.name!r} cannot have a default")
    if source.type.data_type not in TEXT_TYPES:
        raise InvalidArgument(
            f"function {one.name!r}: {one.type} reads a text, and {source.name!r} is {source.type}"
        )
    known = _PARAMS[one.type]
    for param in one.options:
        if known is not None and param not in known:
            raise UnsupportedOption(
                f"function {one.name!r}: {one.type} has no parameter {param!r}",
                hint=f"parameters: {', '.join(known) or 'none'}",
            )
    if one.type is FunctionType.BM25:
        _check_bm25(one, source, target)
    elif one.type is FunctionType.TEXT_EMBEDDING:
        _check_embedding(one, target)
    else:
        _check_minhash(one, target)


def _check_bm25(one: Function, source: Field, target: Field) -> None:
    if source.type.analyzer is None:
        raise InvalidArgument(
            f"function {one.name!r}: BM25 needs an analyzer on {source.name!r}, which has none",
            hint="declare the field as a text with an analyzer",
        )
    if target.type.data_type is not DataType.SPARSE_FLOAT_VECTOR:
        raise InvalidArgument(
            f"function {one.name!r}: BM25 fills a sparse_float_vector, and {target.name!r} is {target.type}"
        )


def _check_embedding(one: Function, target: Field) -> None:
    if target.type.data_type is not DataType.FLOAT_VECTOR:
        raise InvalidArgument(
            f"function {one.name!r}: TEXT_EMBEDDING fills a float_vector, and {target.name!r} is {target.type}"
        )
    asked = one.options.get("dim")
    if asked is not None and asked != target.type.dim:
        raise InvalidArgument(
            f"function {one.name!r}: its dim is {asked}, and {target.name!r} is {target.type}"
        )


def _check_minhash(one: Function, target: Field) -> None:
    if target.type.data_type is not DataType.BINARY_VECTOR:
        raise InvalidArgument(
            f"function {one.name!r}: MINHASH fills a binary_vector, and {target.name!r} is {target.type}"
        )
    options, bits = one.options, target.type.dim or 0
    if bits % HASH_BITS:
        raise InvalidArgument(
            f"function {one.name!r}: {target.name!r} must have a multiple of {HASH_BITS} bits, got {bits}"
        )
    least = {"num_hashes": 1, "shingle_size": 1, "seed": 0}
    for name, low in least.items():
        value = options.get(name, low)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value < 1 << 32:
            raise InvalidArgument(
                f"function {one.name!r}: {name} must be an integer of at least {low}, got {value!r}"
            )
    if options.get("num_hashes", bits // HASH_BITS) * HASH_BITS != bits:
        raise InvalidArgument(
            f"function {one.name!r}: {options['num_hashes']} hashes of {HASH_BITS} bits are "
            f"{options['num_hashes'] * HASH_BITS} bits, and {target.name!r} has {bits}"
        )
    level = options.get("token_level", "word")
    if level not in ("char", "word"):
        raise InvalidArgument(f"function {one.name!r}: token_level must be 'char' or 'word', got {level!r}")
    hashing = options.get("hash_function", "xxhash64")
    if hashing not in ("xxhash64", "sha1"):
        raise InvalidArgument(
            f"function {one.name!r}: hash_function must be 'xxhash64' or 'sha1', got {hashing!r}"
        )
