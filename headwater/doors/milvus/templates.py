"""Values of a filter's ``{name}`` templates, as the filter language takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["template_values"]


def template_values(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values that a request brings for the templates of its filter; None where it brings none.

    Args:
        values: by name, `schema_pb2.TemplateValue`.
    """
    return {name: _value(value) for name, value in values.items()} or None


def _value(value: Any) -> Any:
    slot = value.WhichOneof("val")
    if slot is None:
        return None
    held = getattr(value, slot)
    return _array(held) if slot == "array_val" else held


def _array(array: Any) -> list[Any]:
    slot = array.WhichOneof("data")
    if slot is None:
        return []
    held = getattr(array, slot).data
    if slot == "json_data":
        return [json.loads(one) for one in held]
    if slot == "array_data":
        return [_array(one) for one in held]
    return list(held)
