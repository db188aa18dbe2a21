"""Queries over one pinned snapshot: filter, plan, execute, fetch.

Promises: an answer is complete whatever is indexed, and every answer can say which version it is an answer to.
"""

from headwater.query.changes import CHANGE_COLUMN, changed_rows
from headwater.query.explain import Explanation, explain
from headwater.query.opened import Opened
from headwater.query.results import Hit, QueryResult, ResultInfo, SearchResult
from headwater.query.scan import QueryRequest, count, get, query, query_keys, scan
from headwater.query.search import search
from headwater.query.search_plan import SearchPlan, query_matrix
from headwater.query.snapshot import (
    ISOLATION_PROPERTY,
    ROW_ID,
    TIMEZONE_PROPERTY,
    TTL_FIELD_PROPERTY,
    TTL_PROPERTY,
    WRITTEN_FIELD,
    Snapshot,
    VersionCache,
)

__all__ = [
    "CHANGE_COLUMN",
    "ISOLATION_PROPERTY",
    "ROW_ID",
    "TTL_FIELD_PROPERTY",
    "TIMEZONE_PROPERTY",
    "TTL_PROPERTY",
    "WRITTEN_FIELD",
    "Explanation",
    "Hit",
    "Opened",
    "QueryRequest",
    "QueryResult",
    "ResultInfo",
    "SearchPlan",
    "SearchResult",
    "Snapshot",
    "VersionCache",
    "changed_rows",
    "count",
    "explain",
    "get",
    "query",
    "query_keys",
    "query_matrix",
    "scan",
    "search",
]
