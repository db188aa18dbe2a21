"""What clients are told of a collection."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping

import pyarrow as pa
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.milvus.field_data import iso_time
from headwater.doors.milvus.rpc import OK, Call
from headwater.doors.milvus.schemas import FIRST_FIELD_NUMBER, schema_to_proto
from headwater.doors.milvus.tier_rules import show_field_policies
from headwater.engine import Collection
from headwater.engine.core import CONSISTENCY_PROPERTY
from headwater.engine.identity import IDENTITY_PROPERTY
from headwater.engine.maintaining import CLUSTERING_PROPERTY
from headwater.lake import Manifest
from headwater.lake.external import SOURCE_PROPERTY, SPEC_PROPERTY, without_secrets
from headwater.lake.log import LOGICAL_BITS
from headwater.query import TIMEZONE_PROPERTY, TTL_FIELD_PROPERTY, TTL_PROPERTY
from headwater.schema import Schema, cast_column
from headwater.types import ConsistencyLevel

__all__ = ["DESCRIPTION_PROPERTY", "described", "num_shards", "told_properties", "update_timestamp"]

DESCRIPTION_PROPERTY = "collection.description"

_LEVELS = {
    ConsistencyLevel.STRONG: common_pb2.ConsistencyLevel.Strong,
    ConsistencyLevel.SESSION: common_pb2.ConsistencyLevel.Session,
    ConsistencyLevel.BOUNDED: common_pb2.ConsistencyLevel.Bounded,
    ConsistencyLevel.EVENTUALLY: common_pb2.ConsistencyLevel.Eventually,
}
_OWN = frozenset((IDENTITY_PROPERTY, CONSISTENCY_PROPERTY, CLUSTERING_PROPERTY, DESCRIPTION_PROPERTY))
_RENAMED = {TTL_PROPERTY: "collection.ttl.seconds", TTL_FIELD_PROPERTY: "ttl_field"}


def update_timestamp(collection: Collection, schema: Schema) -> int:
    """A number that changes with the schema, by which a client knows that what it remembers is old."""
    return collection.id + schema.version - 1


def told_properties(properties: Mapping[str, str]) -> dict[str, str]:
    """A collection's properties as clients name them; what the lake keeps for itself is not among them."""
    return {
        _RENAMED.get(key, key): _seconds(value) if key == TTL_PROPERTY else value
        for key, value in properties.items()
        if key not in _OWN and not key.startswith(("headwater.", "_"))
    }


def _seconds(value: str) -> str:
    return value.removesuffix(".0")


def described(call: Call, collection: Collection, name: str) -> milvus_pb2.DescribeCollectionResponse:
    """The answer to a description.

    Args:
        call: who asks.
        collection: what about.
        name: as the caller has it, which may be an alias.
    """
    manifest = collection.manifest
    schema, properties = manifest.schema, manifest.properties
    created = collection.id
    level = properties.get(CONSISTENCY_PROPERTY, ConsistencyLevel.BOUNDED)
    channels = [f"{collection.id}v{number}" for number in range(num_shards(manifest))]
    shown = schema_to_proto(
        schema,
        collection.name,
        description=properties.get(DESCRIPTION_PROPERTY, ""),
        clustering_key=properties.get(CLUSTERING_PROPERTY),
        source=_source(manifest),
    )
    show_field_policies(manifest, shown)
    _show_default_moments(manifest, shown)
    return milvus_pb2.DescribeCollectionResponse(
        status=OK,
        schema=shown,
        collectionID=collection.id,
        collection_name=collection.name,
        db_name=call.database,
        virtual_channel_names=channels,
        physical_channel_names=channels,
        created_timestamp=created,
        created_utc_timestamp=created >> LOGICAL_BITS,
        update_timestamp=update_timestamp(collection, schema),
        update_timestamp_str=str(update_timestamp(collection, schema)),
        shards_num=num_shards(manifest),
        aliases=list(call.db.list_aliases(collection.name)),
        consistency_level=_LEVELS[ConsistencyLevel(level)],
        num_partitions=schema.num_partitions or 1 + len(manifest.partitions),
        properties=[
            common_pb2.KeyValuePair(key=key, value=value)
            for key, value in {**_always(schema), **told_properties(properties)}.items()
        ],
    )


def _show_default_moments(manifest: Manifest, shown: schema_pb2.CollectionSchema) -> None:
    """Tell the moments that are defaults of fields in the collection's time zone."""
    zone = zoneinfo.ZoneInfo(manifest.properties.get(TIMEZONE_PROPERTY, "UTC"))
    for out in shown.fields:
        if out.data_type == schema_pb2.DataType.Timestamptz and out.HasField("default_value"):
            field = manifest.schema.field(out.name)
            moment = cast_column(field, [field.default]).cast(pa.int64())[0].as_py()
            out.default_value.string_data = iso_time(moment, zone)


def _always(schema: Schema) -> dict[str, str]:
    """Properties that every collection has: its time zone, and the highest number that a field of it ever had."""
    return {TIMEZONE_PROPERTY: "UTC", "max_field_id": str(schema.last_field_id + FIRST_FIELD_NUMBER - 1)}


def _source(manifest: Manifest) -> tuple[str, str]:
    """Where an external collection's rows come from, without secrets."""
    if manifest.source is None or not manifest.source.urls:
        return "", ""
    told = manifest.properties.get(SOURCE_PROPERTY) or ",".join(manifest.source.urls)
    return told, without_secrets(manifest.properties.get(SPEC_PROPERTY, "")) or '{"format":"parquet"}'


def num_shards(manifest: Manifest) -> int:
    """Write streams, as clients are told: at least one."""
    return max(1, len(manifest.all_shards))
