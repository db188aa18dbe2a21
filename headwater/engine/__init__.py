"""What a user holds: a database, its collections, and pinned versions of them.

The engine opens, pins and dispatches; every decision is taken in the room below that it calls.
"""

from headwater.engine.analyzing import run_analyzer
from headwater.engine.checking import check_settings
from headwater.engine.collection import Collection, CollectionAt
from headwater.engine.database import Database, connect
from headwater.engine.iterators import QueryIterator, SearchIterator
from headwater.engine.on_demand import OnDemand, OnDemandCollection
from headwater.engine.on_demand.answering import open_on_demand
from headwater.engine.priority import lower_process_to, make_way, make_way_on_thread
from headwater.engine.requests import AnnSearchRequest
from headwater.engine.tiering import CollectionTiers, Placement
from headwater.engine.upkeep import Upkeep, UpkeepReport
from headwater.engine.warming import WarmupReport
from headwater.engine.writing import WriteResult

__all__ = [
    "AnnSearchRequest",
    "Collection",
    "CollectionAt",
    "CollectionTiers",
    "Database",
    "Placement",
    "OnDemand",
    "OnDemandCollection",
    "QueryIterator",
    "SearchIterator",
    "Upkeep",
    "UpkeepReport",
    "WarmupReport",
    "WriteResult",
    "check_settings",
    "connect",
    "lower_process_to",
    "make_way",
    "make_way_on_thread",
    "open_on_demand",
    "run_analyzer",
]
