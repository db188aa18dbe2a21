"""What a user holds: a database, its collections, and pinned versions of them.

The engine opens, pins and dispatches; every decision is taken in the room below that it calls.
"""

from headwater.engine.analyzing import run_analyzer
from headwater.engine.collection import Collection, CollectionAt
from headwater.engine.database import Database, connect
from headwater.engine.iterators import QueryIterator, SearchIterator
from headwater.engine.requests import AnnSearchRequest
from headwater.engine.writing import WriteResult

__all__ = [
    "AnnSearchRequest",
    "Collection",
    "CollectionAt",
    "Database",
    "QueryIterator",
    "SearchIterator",
    "WriteResult",
    "connect",
    "run_analyzer",
]
