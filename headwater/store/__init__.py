"""Objects: immutable bytes under keys, on disk, in memory or in a cloud.

The room promises whole objects or none, at most one winner of a put-if-absent, listings in key order, and
errors of `headwater.errors` only. Nothing above it knows which vendor is below. A new backend is one class
with the methods of `ObjectStore` and one subclass of `headwater.testing.object_store.ObjectStoreTests`.
"""

from headwater.store.direct import DirectWriter, write_all
from headwater.store.faulty import Fault, FaultyStore
from headwater.store.local import LocalObjectStore
from headwater.store.making_way import LOWEST_PRIORITY, awaited, give_turn
from headwater.store.metered import MeteredStore
from headwater.store.objects import ObjectMeta, ObjectStore, SupportsCopy, SupportsSweep, check_key
from headwater.store.obstore_store import ObstoreStore
from headwater.store.opening import open_lake_store, open_store
from headwater.store.page_cache import BorrowedPages
from headwater.store.put import put_if_absent
from headwater.store.ranges import Run, merge_ranges, slice_runs
from headwater.store.read_only import ReadOnlyStore
from headwater.store.retry import RetryingStore, with_retries
from headwater.store.scratch import scratch_folder
from headwater.store.together import Ahead, SingleFlight, ahead, together
from headwater.store.translate import local_errors
from headwater.store.wrapper import StoreWrapper

__all__ = [
    "Ahead",
    "BorrowedPages",
    "LOWEST_PRIORITY",
    "DirectWriter",
    "Fault",
    "FaultyStore",
    "LocalObjectStore",
    "MeteredStore",
    "ObjectMeta",
    "ObjectStore",
    "ObstoreStore",
    "ReadOnlyStore",
    "RetryingStore",
    "Run",
    "SingleFlight",
    "StoreWrapper",
    "SupportsCopy",
    "SupportsSweep",
    "ahead",
    "awaited",
    "check_key",
    "give_turn",
    "local_errors",
    "merge_ranges",
    "open_lake_store",
    "open_store",
    "put_if_absent",
    "scratch_folder",
    "slice_runs",
    "together",
    "with_retries",
    "write_all",
]
