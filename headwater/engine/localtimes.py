"""Times without an offset, of rows and of defaults that come in, in the collection's time zone."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headwater.engine.data import as_table
from headwater.errors import InvalidArgument
from headwater.lake import Manifest
from headwater.query import TIMEZONE_PROPERTY
from headwater.schema import Field, Schema, tabular
from headwater.types import DataType

__all__ = ["local_default", "localised", "with_local_defaults"]


def localised(data: Any, manifest: Manifest) -> Any:
    """A caller's rows with an offset on every time that has none; as they are where the collection has no time zone.

    Of a local time that a change of clocks gives twice, the earlier is meant.

    Raises:
        InvalidArgument: there is no such time zone.
    """
    fields = [f.name for f in manifest.schema.fields if f.type.data_type is DataType.TIMESTAMPTZ]
    zone = _zone(manifest.properties) if fields else None
    if zone is None:
        return data
    data = tabular(as_table(data))
    if isinstance(data, pa.Table):
        for field in set(fields) & set(data.column_names):
            at = data.column_names.index(field)
            data = data.set_column(at, field, _column(data.column(at), zone))
        return data
    if isinstance(data, Mapping):
        return {key: _moments(value, zone) if key in fields else value for key, value in data.items()}
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        return [
            {key: _moment(one, zone) if key in fields else one for key, one in row.items()} for row in data
        ]
    return data


def with_local_defaults(schema: Schema, properties: Mapping[str, str]) -> Schema:
    """A schema whose fields' defaults are as `local_default` makes them."""
    return replace(schema, fields=tuple(local_default(field, properties) for field in schema.fields))


def local_default(field: Field, properties: Mapping[str, str]) -> Field:
    """A field whose default, where it is a time without an offset, has that of the collection's time zone.

    The moment stays as it was meant when the field was made, whatever the time zone is changed to.

    Args:
        field: of the collection.
        properties: the collection's.

    Raises:
        InvalidArgument: there is no such time zone.
    """
    if field.type.data_type is not DataType.TIMESTAMPTZ or field.default is None:
        return field
    zone = _zone(properties)
    if zone is None:
        return field
    moment = _moment(field.default, zone)
    return replace(field, default=moment.isoformat() if isinstance(moment, datetime.datetime) else moment)


def _zone(properties: Mapping[str, str]) -> zoneinfo.ZoneInfo | None:
    name = properties.get(TIMEZONE_PROPERTY)
    if name is None:
        return None
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidArgument(
            f"property {TIMEZONE_PROPERTY!r}: no time zone {name!r}",
            hint="an IANA name such as Europe/Zurich",
        ) from error


def _moments(values: Any, zone: zoneinfo.ZoneInfo) -> Any:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _column(values, zone)
    return [_moment(one, zone) for one in values]


def _column(column: pa.Array | pa.ChunkedArray, zone: zoneinfo.ZoneInfo) -> pa.Array | pa.ChunkedArray:
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        moments = [_moment(one, zone) for one in column.to_pylist()]
        return pa.chunked_array([pa.array(moments, pa.timestamp("us", "UTC"))])
    if not pa.types.is_timestamp(column.type) or column.type.tz is not None:
        return column
    local = pc.assume_timezone(column, zone.key, ambiguous="earliest", nonexistent="latest")
    return local.cast(pa.timestamp(column.type.unit, "UTC"))


def _moment(value: Any, zone: zoneinfo.ZoneInfo) -> Any:
    """A time with an offset; what is no time is left to validation, which says so."""
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(moment, datetime.datetime) and moment.tzinfo is None:
        return moment.replace(tzinfo=zone)
    return moment
