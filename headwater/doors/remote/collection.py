"""A collection on a server, as a user holds it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.milvus.schemas import field_to_proto, schema_from_proto
from headwater.doors.remote.asked import Reading, hybrid_request, query_request, search_request
from headwater.doors.remote.decoded import asked_names, hits_of, rows_of
from headwater.doors.remote.indexes import RemoteIndexes
from headwater.doors.remote.iterators import RemoteQueryIterator, RemoteSearchIterator
from headwater.doors.remote.raised import unsupported
from headwater.doors.remote.rows import Target, keys_of, rows_to_send
from headwater.doors.remote.wire import Wire
from headwater.engine import Collection, WriteResult
from headwater.engine.rows import key_array
from headwater.errors import AlreadyExists, HeadwaterError, InvalidArgument, SchemaConflict
from headwater.extras import load_extra
from headwater.query import QueryResult, SearchResult
from headwater.query.expr import filter_text
from headwater.schema import Field, FieldType, Schema
from headwater.types import ConsistencyLevel

__all__ = ["RemoteCollection"]

_KEYS_AT_ONCE = 10_000
_OPERATIONS = {
    "replace": schema_pb2.FieldPartialUpdateOp.REPLACE,
    "append": schema_pb2.FieldPartialUpdateOp.ARRAY_APPEND,
    "remove": schema_pb2.FieldPartialUpdateOp.ARRAY_REMOVE,
}
_AGGREGATES = ("count(", "sum(", "avg(", "min(", "max(")


class RemoteCollection(RemoteIndexes):
    """What `headwater.Collection` is, on a server. Methods that the protocol has no words for are refused by name.

    Args:
        wire: to the server.
        database: whose collection.
        name: its name, or an alias of it.

    Attributes:
        name: as given.
    """

    def __init__(self, wire: Wire, database: str, name: str) -> None:
        self.name = name
        self._wire = wire
        self._database = database
        self._written = 0
        self._refresh()

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def schema(self) -> Schema:
        """The newest schema."""
        self._refresh()
        return self._schema

    @property
    def properties(self) -> dict[str, str]:
        """What is kept by name."""
        self._refresh()
        return {one.key: one.value for one in self._described.properties}

    @property
    def num_rows(self) -> int:
        """Rows, deleted ones excluded."""
        return self.count()

    def describe(self) -> dict[str, Any]:
        """Schema, rows and indexes as a plain dict."""
        schema = self.schema
        return {
            "name": self._described.collection_name,
            "num_rows": self.count(),
            "primary_key": schema.primary_key,
            "external": bool(self._described.schema.external_source),
            "fields": [
                {
                    "name": one.name,
                    "type": str(one.type.data_type),
                    "dim": one.type.dim,
                    "nullable": one.nullable,
                }
                for one in schema.fields
            ],
            "functions": [one.to_json() for one in schema.functions],
            "indexes": self.list_indexes(),
            "properties": {one.key: one.value for one in self._described.properties},
        }

    # -- reads ------------------------------------------------------------------------------------------------------

    def search(self, data: Any = None, **request: Any) -> SearchResult:
        """See `Collection.search`; `highlighter`, `search_aggregation` and `function_chains` are refused."""
        started = time.perf_counter()
        reading = self._reading(request)
        names = asked_names(self._schema, request.pop("output_fields", None), ())
        asked = search_request(self.name, self._schema, data, reading, {**request, "output_fields": names})
        return hits_of(self._call("Search", asked).results, self._schema, names, started)

    def hybrid_search(self, reqs: Any, ranker: Any = None, **request: Any) -> SearchResult:
        """See `Collection.hybrid_search`; a reranker beside RRF and weights is declared as `RerankFunction`."""
        started = time.perf_counter()
        reading = self._reading(request)
        names = asked_names(self._schema, request.pop("output_fields", None), ())
        asked = hybrid_request(
            self.name, self._schema, reqs, ranker, reading, {**request, "output_fields": names}
        )
        return hits_of(self._call("HybridSearch", asked).results, self._schema, names, started)

    def query(
        self,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        limit: int | None = None,
        **words: Any,
    ) -> QueryResult:
        """See `Collection.query`: `order_by`, `offset` and `group_by_fields`; what every read takes."""
        started = time.perf_counter()
        reading = self._reading(words)
        known = {"order_by", "offset", "group_by_fields"}
        for name in words:
            if name not in known:
                raise TypeError(f"query() got an unexpected keyword argument {name!r}")
        names = asked_names(self._schema, output_fields, self._schema.readable_names)
        grouped = bool(words.get("group_by_fields")) or any(
            name.replace(" ", "").lower().startswith(_AGGREGATES) for name in names
        )
        given = {name: value for name, value in words.items() if value}
        if limit is None and not grouped:
            if given:
                raise InvalidArgument(
                    f"{' and '.join(given)} of a query to a server needs a limit", hint="pass limit= too"
                )
            batches = self._batches(filter, filter_params, names, reading, None)
            return self._whole(list(batches), names, started)
        if limit is None and "group_by_fields" in given and "order_by" in given:
            limit = 16_384
        if limit is not None:
            given["limit"] = limit
        if not filter and limit == 0:
            return self._whole([], names, started)
        asked = query_request(self.name, filter, reading, names, filter_params, **given)
        return rows_of(self._call("Query", asked), self._schema, names, started)

    def query_iterator(
        self,
        filter: str | None = None,
        *,
        batch_size: int = 1000,
        limit: int | None = None,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        **words: Any,
    ) -> RemoteQueryIterator:
        """See `Collection.query_iterator`; an iterator cannot be taken up by a token."""
        if words.pop("token", None) is not None:
            raise unsupported("an iterator by its token")
        reading = self._reading(words)
        for name in words:
            raise TypeError(f"query_iterator() got an unexpected keyword argument {name!r}")
        names = asked_names(self._schema, output_fields, self._schema.readable_names)
        return self._batches(filter, filter_params, names, reading, limit, batch_size)

    def search_iterator(
        self, data: Any, *, batch_size: int = 1000, limit: int | None = None, **request: Any
    ) -> RemoteSearchIterator:
        """See `Collection.search_iterator`; an iterator cannot be taken up by a token."""
        if request.pop("token", None) is not None:
            raise unsupported("an iterator by its token")
        reading = self._reading(request)
        names = asked_names(self._schema, request.pop("output_fields", None), ())
        sizes = (batch_size, limit)
        return RemoteSearchIterator(
            self._call, self.name, self._schema, data, reading, names=names, request=request, sizes=sizes
        )

    def get(self, ids: Any, *, output_fields: Sequence[str] | None = None, **reading: Any) -> QueryResult:
        """Rows by primary key, in the order of `ids`; absent keys are left out."""
        started = time.perf_counter()
        read = self._reading(reading)
        for name in reading:
            raise TypeError(f"get() got an unexpected keyword argument {name!r}")
        names = asked_names(self._schema, output_fields, self._schema.readable_names)
        key = self._key()
        keys = key_array(ids, self._schema).to_pylist()
        parts = []
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            asked = query_request(
                self.name, f"{key} in {{keys}}", read, [*names, key], {"keys": some}, limit=len(set(some))
            )
            answer = self._call("Query", asked)
            found = rows_of(answer, self._schema, [key], started).to_arrow().column(0).to_pylist()
            places = {value: place for place, value in enumerate(found)}
            order = [places[one] for one in some if one in places]
            part = rows_of(answer, self._schema, names, started)
            parts.append(
                QueryResult(part.to_arrow().take(pa.array(order, pa.int64())), part.info, part.json_fields)
            )
        return self._whole(parts, names, started)

    def count(
        self, filter: str | None = None, *, filter_params: Mapping[str, Any] | None = None, **reading: Any
    ) -> int:
        """Number of rows that a filter selects."""
        counted = self.query(filter, filter_params=filter_params, output_fields=["count(*)"], **reading)
        return int(counted[0]["count(*)"])

    def scan(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **reading: Any
    ) -> Iterator[pa.RecordBatch]:
        """Stream record batches, by primary key; what is written meanwhile is not in them."""
        for batch in self.query_iterator(filter, output_fields=columns, batch_size=8192, **reading):
            yield from batch.to_arrow().to_batches()

    def to_arrow(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **reading: Any
    ) -> pa.Table:
        """Rows as an Arrow table, by primary key."""
        return self.query(filter, output_fields=columns, **reading).to_arrow()

    def to_pandas(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **reading: Any
    ) -> Any:
        """Rows as a pandas DataFrame; needs the `pandas` extra."""
        load_extra("pandas", "pandas", need="to_pandas()")
        return self.to_arrow(columns, filter, **reading).to_pandas()

    def to_polars(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **reading: Any
    ) -> Any:
        """Rows as a Polars DataFrame; needs the `polars` extra."""
        return load_extra("polars", "polars", need="to_polars()").from_arrow(
            self.to_arrow(columns, filter, **reading)
        )

    # -- writes -----------------------------------------------------------------------------------------------------

    def insert(self, data: Any, *, partition: str | None = None) -> WriteResult:
        """See `Collection.insert`."""
        return self._write("Insert", data, partition, partial=False, array_ops={})

    def upsert(
        self,
        data: Any,
        *,
        partial: bool = False,
        array_ops: Mapping[str, str] | None = None,
        partition: str | None = None,
    ) -> WriteResult:
        """See `Collection.upsert`."""
        if self._schema.primary_key is None:
            raise InvalidArgument(f"upsert needs a primary key, and collection {self.name!r} has none")
        if array_ops and not partial:
            raise InvalidArgument("array_ops needs partial=True")
        return self._write("Upsert", data, partition, partial=partial, array_ops=array_ops or {})

    def delete(
        self,
        ids: Any = None,
        *,
        filter: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        partition: str | None = None,
    ) -> WriteResult:
        """See `Collection.delete`; the keys that a filter selected are not told."""
        if (ids is None) == (filter is None):
            raise InvalidArgument("delete() needs either ids or filter")
        keys = None if ids is None else key_array(ids, self._schema)
        if keys is not None:
            if len(keys) == 0:
                return WriteResult(0, keys, self._written)
            filter, filter_params = f"{self._key()} in {{keys}}", {"keys": keys.to_pylist()}
        request = milvus_pb2.DeleteRequest(
            collection_name=self.name,
            partition_name=partition or "",
            expr=filter_text(filter) or "",
            expr_template_values=Prepare.prepare_expression_template(dict(filter_params or {})),
        )
        answer = self._call("Delete", request)
        self._written = max(self._written, answer.timestamp)
        return WriteResult(answer.delete_cnt if keys is None else len(keys), keys, answer.timestamp)

    def truncate(self, partitions: Sequence[str] | None = None) -> None:
        """Delete every row."""
        if partitions is not None:
            raise unsupported("truncating some partitions")
        self._call("TruncateCollection", milvus_pb2.TruncateCollectionRequest(collection_name=self.name))

    def flush(self) -> None:
        """Seal what is in the log."""
        self._call("Flush", milvus_pb2.FlushRequest(collection_names=[self.name]))

    # -- partitions and fields ----------------------------------------------------------------------------------------

    @property
    def partitions(self) -> list[str]:
        """Names of the partitions; the default one comes first."""
        request = milvus_pb2.ShowPartitionsRequest(collection_name=self.name)
        found = list(self._call("ShowPartitions", request).partition_names)
        return sorted(found, key=lambda name: (name != "_default", name))

    def create_partition(self, name: str) -> None:
        """Add a partition by name.

        Raises:
            AlreadyExists: there is one of that name.
        """
        if name in self.partitions:
            raise AlreadyExists(f"partition {name!r} exists in collection {self.name!r}")
        self._call(
            "CreatePartition",
            milvus_pb2.CreatePartitionRequest(collection_name=self.name, partition_name=name),
        )

    def drop_partition(self, name: str) -> None:
        """Delete a partition with its rows."""
        for call, kind in (
            ("ReleasePartitions", milvus_pb2.ReleasePartitionsRequest),
            ("DropPartition", milvus_pb2.DropPartitionRequest),
        ):
            named: Any = (
                {"partition_names": [name]} if call == "ReleasePartitions" else {"partition_name": name}
            )
            self._call(call, kind(collection_name=self.name, **named))

    def add_column(
        self, name: str, values: Any = None, *, type: FieldType | None = None, inputs: Sequence[str] = ()
    ) -> int:
        """Add a nullable field; a server takes no values for it. Returns 0, the bytes written."""
        if values is not None or inputs or type is None:
            raise unsupported("adding a column with values (add it with type= alone, then upsert)")
        field = Field(name=name, type=type, nullable=True)
        schema = field_to_proto(field, self._schema).SerializeToString()
        request = milvus_pb2.AddCollectionFieldRequest(collection_name=self.name, schema=schema)
        self._call("AddCollectionField", request)
        self._refresh()
        return 0

    def set_properties(self, properties: Mapping[str, str | None]) -> None:
        """Keep values by name; None forgets one."""
        request = milvus_pb2.AlterCollectionRequest(
            collection_name=self.name,
            properties=[
                common_pb2.KeyValuePair(key=key, value=str(value))
                for key, value in properties.items()
                if value is not None
            ],
            delete_keys=[key for key, value in properties.items() if value is None],
        )
        self._call("AlterCollection", request)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _write(
        self, call: str, data: Any, partition: str | None, *, partial: bool, array_ops: Mapping[str, str]
    ) -> WriteResult:
        try:
            return self._sent(call, data, partition, partial, array_ops)
        except SchemaConflict:
            self._refresh()
            return self._sent(call, data, partition, partial, array_ops)

    def _sent(
        self, call: str, data: Any, partition: str | None, partial: bool, array_ops: Mapping[str, str]
    ) -> WriteResult:
        properties = {one.key: one.value for one in self._described.properties}
        target = Target(self._schema, properties)
        messages = rows_to_send(data, target, upsert=call == "Upsert", partial=partial)
        kind: Any = milvus_pb2.InsertRequest if call == "Insert" else milvus_pb2.UpsertRequest
        count, keys = 0, []
        for num_rows, fields in messages:
            request = kind(
                collection_name=self.name,
                partition_name=partition or "",
                num_rows=num_rows,
                fields_data=fields,
                schema_timestamp=self._described.update_timestamp,
            )
            if partial:
                request.partial_update = True
                _set_operations(request, array_ops)
            answer = self._call(call, request)
            count += num_rows
            self._written = max(self._written, answer.timestamp)
            told = keys_of(answer.IDs)
            keys += [] if told is None else [told]
        return WriteResult(count, pa.concat_arrays(keys) if keys else None, self._written)

    def _batches(
        self,
        filter: str | None,
        filter_params: Mapping[str, Any] | None,
        names: Sequence[str],
        reading: Reading,
        limit: int | None,
        batch_size: int = 8192,
    ) -> RemoteQueryIterator:
        self._key()
        return RemoteQueryIterator(
            self._call,
            self.name,
            self._schema,
            reading,
            names,
            filter=(filter, filter_params),
            batch_size=batch_size,
            limit=limit,
        )

    def _whole(self, parts: Sequence[QueryResult], names: Sequence[str], started: float) -> QueryResult:
        """One result of several."""
        nothing = rows_of(milvus_pb2.QueryResults(), self._schema, names, started)
        if not parts:
            return nothing
        joined = pa.concat_tables([one.to_arrow() for one in parts], promote_options="permissive")
        return QueryResult(joined, nothing.info, frozenset().union(*(one.json_fields for one in parts)))

    def _key(self) -> str:
        key = self._schema.primary_key
        if key is None:
            raise unsupported(f"reading the rows of {self.name!r}, which has no primary key, one by one")
        return key

    def _reading(self, request: dict[str, Any]) -> Reading:
        level = common_pb2.ConsistencyLevel.Name(self._described.consistency_level)
        own = ConsistencyLevel(level) if level in list(ConsistencyLevel) else ConsistencyLevel.BOUNDED
        return Reading(request, own, self._written)

    def _refresh(self) -> None:
        self._described = self._describe()
        self._schema = schema_from_proto(self._described.schema, self._described.num_partitions)

    def _describe(self) -> Any:
        request = milvus_pb2.DescribeCollectionRequest(collection_name=self.name)
        return self._call("DescribeCollection", request)

    def _call(self, name: str, request: Any) -> Any:
        return self._wire.call(name, request, self._database)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(Collection, name):
            raise unsupported(f"Collection.{name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __len__(self) -> int:
        return self.num_rows

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        try:
            return f"<collection {self.name!r}: {self.num_rows:,} rows at {self._wire.url}>"
        except HeadwaterError as error:
            return f"<collection {self.name!r} at {self._wire.url}: {error.message}>"


def _set_operations(request: Any, array_ops: Mapping[str, str]) -> None:
    """What an array's values mean in a partial upsert."""
    for name, operation in array_ops.items():
        if operation not in _OPERATIONS:
            raise InvalidArgument(
                f"array_ops: {name!r} is to {operation!r}, expected one of {', '.join(_OPERATIONS)}"
            )
        request.field_ops.add(field_name=name, op=_OPERATIONS[operation])
