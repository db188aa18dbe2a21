"""Text of a filter to a tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.errors import FilterSyntax, InvalidArgument
from headwater.query.expr import nodes

__all__ = ["filter_text", "parse", "syntax_error"]


def syntax_error(
    message: str, text: str | None, position: int, hint: str | None = None, **details: Any
) -> FilterSyntax:
    """A `FilterSyntax` that shows where."""
    if text is not None:
        start, stop = max(0, position - 40), position + 40
        shown = text[start:stop].replace("\n", " ").replace("\r", " ").replace("\t", " ")
        message = f"{message}, at position {position}:\n  {shown}\n  {' ' * (position - start)}^"
    return FilterSyntax(message, hint=hint, position=position, **details)


def filter_text(given: Any) -> str | None:
    """A filter as it was given; None where there is none.

    Raises:
        InvalidArgument: it is no text.
    """
    if given is None or isinstance(given, str):
        return given
    raise InvalidArgument(
        f"filter: expected a text, got {given!r} ({type(given).__name__})", hint='such as "year >= 2020"'
    )


def parse(text: str, params: Mapping[str, Any] | None = None) -> nodes.Filter:
    """The tree of a filter.

    Args:
        text: such as ``year >= 2020 and lang in ["en", "de"]``.
        params: values of ``{name}`` templates.

    Raises:
        FilterSyntax: the text is not a filter, or a template has no value; `details["position"]` says where.
    """
    from headwater.query.expr.trees import tree_of

    return tree_of(text, params or {})
