"""What Milvus allows of searches among the vectors of struct arrays.

A search of single vectors finds elements; one of lists of vectors, by a MAX_SIM metric, finds rows. Some of what is
refused here the engine can do, and clients of our own may ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headwater.doors.milvus.codes import MilvusError, invalid
from headwater.doors.milvus.filter_errors import filter_error
from headwater.doors.milvus.placeholders import by_lists
from headwater.doors.milvus.search_request import SearchWords, searched_field
from headwater.engine import AnnSearchRequest, CollectionAt
from headwater.errors import FilterSyntax
from headwater.query.expr import nodes, parse
from headwater.schema import Field
from headwater.types import DataType

__all__ = ["check_element_filter", "check_element_legs", "check_element_search", "names_elements"]

_LAST = "element filter expression can only be the last expression in the logical {} expression"


def check_element_search(state: CollectionAt, words: SearchWords) -> None:
    """Check a search of one field.

    Args:
        state: what is searched.
        words: of the request, with the metric among their parameters.

    Raises:
        MilvusError: 1100.
    """
    if words.field.type.data_type is not DataType.STRUCT_ARRAY:
        return
    one, several = words.options.get("group_by_field"), words.options.get("group_by_fields")
    groups = set(several or ([] if one is None else [one]))
    problem = None
    if by_lists(words.field, words.params):
        what = "on embedding list fields"
        if "radius" in words.params:
            problem = f"range search is not supported for multi-search-multi {what}"
        elif words.iterator:
            problem = f"search iterator is not supported for multi-search-multi {what}"
        elif groups:
            problem = f"group by is not supported for multi-search-multi {what}"
    elif words.iterator and words.step is None:
        problem = "legacy search iterator is not supported for element-level search; use search iterator v2"
    elif groups - {state.schema.primary_key}:
        problem = "only group by primary key is supported for element-level search"
    if problem is not None:
        raise invalid(problem, expected="", actual="")


def check_element_legs(state: CollectionAt, legs: Sequence[AnnSearchRequest], group: str | None) -> None:
    """Check the legs of a hybrid search.

    Args:
        state: what is searched.
        legs: as the engine takes them.
        group: field by which hits are grouped; None for none.

    Raises:
        MilvusError: 1100.
    """
    fields = [searched_field(state.schema, leg.anns_field) for leg in legs]
    arrays = [field for field in fields if field.type.data_type is DataType.STRUCT_ARRAY]
    for field, leg in zip(fields, legs, strict=True):
        params = leg.param or {}
        if field not in arrays or not by_lists(field, params):
            continue
        if "radius" in params:
            raise _refused("range search is not supported for vector array (embedding-list)", field)
        if group is not None:
            raise _refused("group by search is not supported for vector array (embedding-list)", field)
    if group is None or not arrays:
        return
    if len(arrays) < len(fields) or len({field.id for field in arrays}) > 1:
        what = "group by search is only supported for same-struct element-level vector array"
        raise _refused(what, arrays[0])
    if group != state.schema.primary_key:
        raise invalid(
            "only group by primary key is supported for same-struct element-level vector array fields in hybrid "
            "search",
            expected="",
            actual="",
        )


def _refused(what: str, field: Field) -> MilvusError:
    return invalid(f"{what} fields in hybrid search, fieldName:{field.name}", expected="", actual="")


def names_elements(state: CollectionAt, named: Mapping[str, Any]) -> frozenset[str]:
    """The arrays of which a filter means some elements, where `element_filter` stands where Milvus takes it.

    Args:
        state: what is read.
        named: the filter, and values of its templates.

    Raises:
        MilvusError: 1100, it stands elsewhere than at the end of an `and`.
        FilterSyntax: the filter does not parse or bind.
    """
    text, values = named.get("filter", ""), named.get("filter_params")
    if "element_filter" not in text and "ELEMENT_FILTER" not in text:
        return frozenset()
    problem = _misplaced(parse(text, values).node)
    if problem is not None:
        raise filter_error(text, FilterSyntax(problem))
    return state.chosen_elements(text, values)


def _misplaced(node: nodes.Node) -> str | None:
    """What is wrong with the place of an `element_filter`, in Milvus's words; None where nothing is."""
    if not _has_element_filter(node) or isinstance(node, nodes.Call):
        return None
    if isinstance(node, nodes.And) and not any(map(_has_element_filter, node.items[:-1])):
        return _misplaced(node.items[-1])
    return _LAST.format("or" if isinstance(node, nodes.Or) else "and")


def _has_element_filter(node: nodes.Node) -> bool:
    if isinstance(node, nodes.And | nodes.Or):
        return any(map(_has_element_filter, node.items))
    if isinstance(node, nodes.Not):
        return _has_element_filter(node.item)
    return isinstance(node, nodes.Call) and node.function == "element_filter"


def check_element_filter(
    state: CollectionAt, field: Field, params: Mapping[str, Any], named: Mapping[str, Any]
) -> None:
    """Check that `element_filter` is about the elements that a search finds.

    Args:
        state: what is searched.
        field: that is.
        params: of the search, its metric among them.
        named: the filter, and values of its templates.

    Raises:
        MilvusError: 1100.
        FilterSyntax: the filter does not parse or bind.
    """
    arrays = names_elements(state, named)
    if not arrays:
        return
    found = field.type.data_type is DataType.STRUCT_ARRAY and not by_lists(field, params)
    declared = state.index_on(field)
    metric = "" if declared is None else declared.declared.get("metric_type", "")
    if not found and field.type.fields and metric and not metric.startswith("MAX_SIM"):
        raise invalid("metric type not match", expected=metric, actual=params.get("metric_type"))
    own = {field.name.partition("[")[0]} if found else set()
    if arrays - own:
        raise invalid(
            "element_filter is only supported for element-level search on vector sub-fields of the same struct array; "
            "use MATCH_ANY/MATCH_* for row-level vector search"
        )
