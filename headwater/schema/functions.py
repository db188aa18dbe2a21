"""Schema functions: fields that the lake computes from other fields, at insert and when added later."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Function", "FunctionType"]


class FunctionType(enum.StrEnum):
    """What a schema function computes; the names are Milvus's.

    BM25: a sparse field to search a text field by; nothing is stored, the text index of the field is searched.
    TEXT_EMBEDDING: a dense vector from a text field.
    MINHASH: a binary vector of min-hash signatures from a text field.
    """

    BM25 = "BM25"
    TEXT_EMBEDDING = "TEXT_EMBEDDING"
    MINHASH = "MINHASH"


@dataclass(frozen=True)
class Function:
    """A function of a schema.

    Attributes:
        name: its name, unique in the schema.
        type: what it computes.
        inputs: names of the fields it reads.
        output: name of the field it fills.
        params: JSON text of its parameters, keys sorted; `options` gives them as a mapping.
    """

    name: str
    type: FunctionType
    inputs: tuple[str, ...]
    output: str
    params: str = "{}"

    @property
    def options(self) -> dict[str, Any]:
        """The parameters."""
        options: dict[str, Any] = json.loads(self.params)
        return options

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
        return cls(
            name=data["name"],
            type=FunctionType(data["type"]),
            inputs=tuple(data["inputs"]),
            output=data["output"],
            params=json.dumps(data.get("params", {}), sort_keys=True),
        )
