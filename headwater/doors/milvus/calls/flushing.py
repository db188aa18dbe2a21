"""Flush: what is in the log becomes segments."""

from __future__ import annotations

import time

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.codes import MISSING_PARAMETER, MilvusError
from headwater.doors.milvus.external_blocks import refuse_external
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine import Collection, Database
from headwater.engine.segments import flushed_until, list_segments
from headwater.errors import CollectionNotFound
from headwater.lake import SYSTEM_CLOCK
from headwater.lake.log import LOGICAL_BITS

__all__: list[str] = []


def _flushed(collection: Collection) -> tuple[list[int], list[int]]:
    """Flush; the numbers of the segments that came of it, and of those that were there."""
    before = {one.number for one in list_segments(collection) if not one.growing}
    collection.flush()
    after = [one.number for one in list_segments(collection) if not one.growing]
    return [one for one in after if one not in before], [one for one in after if one in before]


@rpc("Flush", lane="long")
def flush(call: Call, request: milvus_pb2.FlushRequest) -> milvus_pb2.FlushResponse:
    """Seal the rows of some collections; they are in segments when this returns."""
    if not request.collection_names:
        raise MilvusError(MISSING_PARAMETER, "collection names are required for flush")
    chosen = {name: call.collection(name) for name in request.collection_names}
    for name, collection in chosen.items():
        refuse_external(collection, "flush", name)
    answer = milvus_pb2.FlushResponse(status=OK, db_name=call.database)
    for name, collection in chosen.items():
        started_ms = collection.now_ms()
        new, old = _flushed(collection)
        answer.coll_segIDs[name].data.extend(new)
        answer.flush_coll_segIDs[name].data.extend(old)
        answer.coll_seal_times[name] = int(time.time())
        answer.coll_flush_ts[name] = started_ms << LOGICAL_BITS
    return answer


@rpc("GetFlushState")
def get_flush_state(call: Call, request: milvus_pb2.GetFlushStateRequest) -> milvus_pb2.GetFlushStateResponse:
    """Whether everything that was written before a moment is in segments."""
    flushed = True
    if request.collection_name and request.flush_ts:
        collection = call.collection(request.collection_name)
        flushed = flushed_until(collection, request.flush_ts >> LOGICAL_BITS)
    return milvus_pb2.GetFlushStateResponse(status=OK, flushed=flushed)


def _databases(call: Call, named: str) -> list[Database]:
    names = [named] if named else call.backend.lake.list_databases()
    return [call.backend.database(name) for name in names]


def _managed(database: Database) -> list[tuple[str, Collection]]:
    found = []
    for name in database.list_collections():
        try:
            collection = database.collection(name)
        except CollectionNotFound:
            continue
        if not collection.external:
            found.append((name, collection))
    return found


@rpc("FlushAll", lane="long")
def flush_all(call: Call, request: milvus_pb2.FlushAllRequest) -> milvus_pb2.FlushAllResponse:
    """Seal the rows of every collection of a database, or of some databases."""
    started_ms = SYSTEM_CLOCK.now_ms()
    answer = milvus_pb2.FlushAllResponse(status=OK, flush_all_ts=started_ms << LOGICAL_BITS)
    targets = {one.db_name or call.database: set(one.collection_names) for one in request.flush_targets}
    databases = (
        [call.backend.database(name) for name in targets] if targets else _databases(call, request.db_name)
    )
    for database in databases:
        result = answer.flush_results.add(db_name=database.name)
        chosen = targets.get(database.name)
        for name, collection in _managed(database):
            if chosen and name not in chosen:
                continue
            new, old = _flushed(collection)
            one = result.collection_results.add(
                collection_name=name, seal_time=int(time.time()), flush_ts=started_ms << LOGICAL_BITS
            )
            one.segment_ids.data.extend(new)
            one.flush_segment_ids.data.extend(old)
    return answer


@rpc("GetFlushAllState", lane="long")
def get_flush_all_state(
    call: Call, request: milvus_pb2.GetFlushAllStateRequest
) -> milvus_pb2.GetFlushAllStateResponse:
    """Whether everything that was written before a moment is in segments, in every collection."""
    until_ms = request.flush_all_ts >> LOGICAL_BITS
    answer = milvus_pb2.GetFlushAllStateResponse(status=OK, flushed=True)
    for database in _databases(call, request.db_name):
        state = answer.flush_states.add(db_name=database.name)
        for name, collection in _managed(database):
            done = flushed_until(collection, until_ms)
            state.collection_flush_states[name] = done
            answer.flushed = answer.flushed and done
    return answer
