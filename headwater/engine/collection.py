"""A collection as a user holds it: the newest version and the log after it for reads, the log for writes.

Every read pins what it sees first, so it sees one state whole. Methods are one call into one room; reads of an older
version are the same methods on what `at` returns. Here are the reads and what else has no topic of its own; a class for
each topic stands below, from `CollectionCore` by versions, indexes, tiers, loading and writing up to `Properties`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headwater import jobs
from headwater.engine.core import CollectionAt
from headwater.engine.files import pinned_field
from headwater.engine.iterators import QueryIterator, SearchIterator, token_version
from headwater.engine.maintaining import CLUSTERING_PROPERTY
from headwater.engine.properties import Properties
from headwater.engine.requests import AnnSearchRequest
from headwater.errors import AlreadyExists, CommitConflict, HeadwaterError, InvalidArgument
from headwater.lake import AlterSchema, DropIndex, SetProperties
from headwater.lake.external import RefreshReport, SourceFile, TableSource, refresh
from headwater.query import TTL_FIELD_PROPERTY, QueryResult, SearchResult
from headwater.query.away import done
from headwater.query.inverted import check_analyzers
from headwater.schema import Field, FieldType, Schema
from headwater.store import Ahead
from headwater.types import ConsistencyLevel

if TYPE_CHECKING:
    from headwater.query.cost import CostReport, Prices, Workload

__all__ = ["Collection", "CollectionAt"]

_READING = frozenset(("version", "min_version", "consistency_level", "min_timestamp", "partitions"))
_NAMING_FIELDS = (TTL_FIELD_PROPERTY, CLUSTERING_PROPERTY)
_ATTEMPTS = 10


class Collection(Properties):
    """A named set of rows in the lake.

    Reads take `consistency_level` (Strong, Bounded, Session, Eventually; the collection's own by default, which is
    Bounded), `min_timestamp` of a write they must see, and `partitions` to look in.
    """

    # -- reads of the newest version ----------------------------------------------------------------------------------

    @property
    def schema(self) -> Schema:
        """The newest schema."""
        return self._lake.latest().schema

    @property
    def num_rows(self) -> int:
        """Rows, deleted ones excluded."""
        return self._pinned().num_rows

    def search(
        self,
        data: Any = None,
        *,
        anns_field: str | None = None,
        top_k: int = 10,
        filter: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        **request: Any,
    ) -> SearchResult:
        """Nearest neighbours; the arguments of `CollectionAt.search`, which says more of them, and those of every read.

        Args:
            data: query vectors, or texts.
            anns_field: the vector field; may be left out when there is one.
            top_k: hits per query.
            filter: boolean expression over scalar fields.
            filter_params: values for templates in the filter.
            output_fields: fields of each hit's entity.
            params: search parameters of the index kind.
            **request: `limit`, `offset`, `ids`, `ranker`, `function_chains`, `group_by_field`, `group_by_fields`,
                `group_size`, `strict_group_size`, `search_aggregation`, `order_by_fields`, `round_decimal`,
                `highlighter`, ...; `version`, `min_version`, `consistency_level`, `min_timestamp`, `partitions`.
        """
        if not request and data is not None and not self._opened.waits:
            # Named once and passed by place: what takes a third of a microsecond more is much to a hot search.
            return self._now().plain_search(
                data, anns_field, top_k, filter, filter_params, output_fields, params
            )
        asked = {
            "anns_field": anns_field,
            "top_k": top_k,
            "filter": filter,
            "filter_params": filter_params,
            "output_fields": output_fields,
            "params": params,
            **request,
        }
        begun = self._begin([asked], asked) if self._opened.waits else ()
        result = self._reader(asked).search(data, **asked)
        done(begun)
        return result

    def hybrid_search(self, reqs: Any, ranker: Any = None, **request: Any) -> SearchResult:
        """Several searches made one answer; the arguments of `CollectionAt.hybrid_search`, and those of every read.

        Args:
            reqs: the legs, `AnnSearchRequest`s; all read one state of the collection.
            ranker: `RRFRanker()` by default.
            **request: `limit`, `offset`, `output_fields`, ...; `version`, `consistency_level`, `partitions`, ...
        """
        begun = self._begin(_legs(reqs), request) if self._opened.waits else ()
        result = self._reader(request).hybrid_search(reqs, ranker, **request)
        done(begun)
        return result

    def query(self, filter: str | None = None, **request: Any) -> QueryResult:
        """Rows that a filter selects, or, where an output field is an aggregate, one row for each group of them.

        Args:
            filter: boolean expression; None for every row.
            **request: `filter_params`, `output_fields`, `order_by`, `limit`, `offset`, `group_by_fields`, of which
                `CollectionAt.query` says more; `version`, `min_version`, `consistency_level`, `min_timestamp`,
                `partitions`.
        """
        return self._reader(request).query(filter, **request)

    def search_iterator(self, data: Any, *, token: str | None = None, **request: Any) -> SearchIterator:
        """The hits of one query in batches; the arguments of `CollectionAt.search_iterator`, and those of every read.

        Args:
            data: one query.
            token: goes on where the iterator that gave it was, in the version that it read.
            **request: `batch_size`, `limit`, `anns_field`, `filter`, ...; those of every read.
        """
        if token is not None:
            request["version"] = token_version(token)
        return self._reader(request).search_iterator(data, token=token, **request)

    def query_iterator(
        self, filter: str | None = None, *, token: str | None = None, **request: Any
    ) -> QueryIterator:
        """Rows in batches, by key; the arguments of `CollectionAt.query_iterator`, and those of every read.

        Args:
            filter: boolean expression; None for every row.
            token: goes on where the iterator that gave it was, in the version that it read.
            **request: `batch_size`, `limit`, `output_fields`, ...; `version`, `consistency_level`, `partitions`, ...
        """
        if token is not None:
            request["version"] = token_version(token)
        return self._reader(request).query_iterator(filter, token=token, **request)

    def get(self, ids: Any, *, output_fields: Sequence[str] | None = None, **reading: Any) -> QueryResult:
        """Rows by primary key (or row id), in the order of `ids`; absent keys are left out."""
        return self._reader(reading, "get").get(ids, output_fields=output_fields)

    def count(
        self, filter: str | None = None, *, filter_params: Mapping[str, Any] | None = None, **reading: Any
    ) -> int:
        """Number of rows that a filter selects; `filter_params` are the values of its ``{name}`` templates."""
        return self._reader(reading, "count").count(filter, filter_params=filter_params)

    def scan(
        self,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
        **reading: Any,
    ) -> Iterator[pa.RecordBatch]:
        """Stream record batches; what is written meanwhile is not in them."""
        return self._reader(reading, "scan").scan(columns, filter, filter_params=filter_params)

    def to_arrow(
        self,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
        **reading: Any,
    ) -> pa.Table:
        """Rows as an Arrow table, in stored order."""
        return self._reader(reading, "to_arrow").to_arrow(columns, filter, filter_params=filter_params)

    def to_pandas(
        self,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
        **reading: Any,
    ) -> Any:
        """Rows as a pandas DataFrame; needs the `pandas` extra."""
        return self._reader(reading, "to_pandas").to_pandas(columns, filter, filter_params=filter_params)

    def to_polars(
        self,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
        **reading: Any,
    ) -> Any:
        """Rows as a Polars DataFrame; needs the `polars` extra."""
        return self._reader(reading, "to_polars").to_polars(columns, filter, filter_params=filter_params)

    def describe(self) -> dict[str, Any]:
        """Schema, rows, segments and indexes as a plain dict."""
        return {"name": self.name, **self._pinned().describe()}

    def pin(
        self,
        *,
        consistency_level: ConsistencyLevel | str | None = None,
        min_timestamp: int | None = None,
        partitions: Sequence[str] | None = None,
        growing: bool = True,
    ) -> CollectionAt:
        """The collection as one read sees it, for several reads of the same state.

        Args:
            consistency_level: what it must hold; the collection's own level by default.
            min_timestamp: of a write that must be in it.
            partitions: read these only.
            growing: whether rows that are in the log only are read.

        Raises:
            NotReady: the write is not in the log.
            PartitionNotFound: there is no such partition.
        """
        version = None if growing else self._live(consistency_level, min_timestamp).manifest.version
        return self._pinned(
            version, level=consistency_level, min_timestamp=min_timestamp, partitions=partitions
        )

    def _begin(self, legs: Sequence[Mapping[str, Any]], request: Mapping[str, Any]) -> list[Ahead[None]]:
        """In the first read of a cold collection, open what it needs while the log is looked at."""
        known = self._lake.known
        if known is None or self._log.looked or "version" in request:
            return []
        begun: list[Ahead[None]] = []
        names = {"output_fields": request.get("output_fields")}
        for leg in legs:
            # What is wrong with a search is said by the search.
            with suppress(HeadwaterError):
                begun += CollectionAt(self.name, self._open(known), self._functions).begin(**{**leg, **names})
        return begun

    def _reader(self, request: dict[str, Any], method: str | None = None) -> CollectionAt:
        """What a read sees; takes the arguments of every read out of its own.

        Args:
            request: what the caller passed; emptied of those arguments.
            method: refuse what is left, in the name of this method.
        """
        plain = _READING.isdisjoint(request)
        chosen = {} if plain else {name: request.pop(name) for name in list(request) if name in _READING}
        if method is not None and request:
            unknown = next(iter(request))
            raise TypeError(f"{method}() got an unexpected keyword argument {unknown!r}")
        if plain:
            return self._now()
        return self._pinned(
            chosen.get("version"),
            chosen.get("min_version"),
            level=chosen.get("consistency_level"),
            min_timestamp=chosen.get("min_timestamp"),
            partitions=chosen.get("partitions"),
        )

    def refresh(self, *, progress: jobs.Progress | None = None) -> RefreshReport:
        """Look at the source again and commit the difference; only files that changed are read.

        Args:
            progress: called with (files looked into, files to look into).

        Raises:
            InvalidArgument: the collection is not external.
            Corrupt: a source file cannot be read; the previous version stays.
        """
        if self._source is None:
            raise InvalidArgument(f"collection {self.name!r} is managed: it has no source to refresh from")
        self._follow(self._lake.latest())
        return self._refreshed(self._source, progress=progress)

    def _refreshed(
        self,
        source: TableSource,
        files: Sequence[SourceFile] | None = None,
        progress: jobs.Progress | None = None,
    ) -> RefreshReport:
        """The difference committed; `files` are those that there are, where they were listed just now."""
        _, report = refresh(
            self._lake,
            source,
            limits=self._settings.lake,
            fill=self._functions.column,
            files=files,
            progress=progress,
        )
        return report

    def cost(
        self,
        prices: Prices | Mapping[str, Any] | str | Path | None = None,
        workload: Workload | Mapping[str, Any] | None = None,
        *,
        policies: Sequence[str] = (),
        anns_field: str | None = None,
        probe: bool = False,
    ) -> CostReport:
        """What is stored, what queries ask of the store, and what a month costs at each policy.

        Lists the collection's files, and reads the footers of a few indexes; a probe besides asks the store a few times
        for one object's size, and runs six searches with nothing kept.

        Args:
            prices: of the user, a mapping of them, or a TOML file; an example's by default.
            workload: what is asked of it, or a mapping of that.
            policies: of `hot`, `warm`, `auto`, `cold`, `on_demand`; all by default.
            anns_field: the vector field that queries search; an indexed one by default.
            probe: measure the store's round trip, and what searches ask of it.

        Raises:
            InvalidArgument: a price, a policy or a figure of the workload is none; names it.
        """
        from headwater.engine.costing import cost_report

        return cost_report(self, prices, workload, policies=policies, anns_field=anns_field, probe=probe)

    def add_column(
        self,
        name: str,
        values: Any = None,
        *,
        type: FieldType | None = None,
        inputs: Sequence[str] = (),
    ) -> int:
        """Add a field, and its values, without rewriting anything.

        Args:
            name: the new field.
            values: an array in the order of `to_arrow`; a table or frame with the primary key (or `row_id`) and the
                column; a function from a record batch to an array; one value for every row; None for nulls. Merging
                segments changes the order of rows, so where something maintains the collection meanwhile, a table is
                safe.
            type: the field's type; inferred from the values by default. A function needs it, and so do nulls.
            inputs: the fields a function reads; all by default.

        Returns:
            Bytes written for the column.

        Raises:
            AlreadyExists: there is a field of the name.
            InvalidArgument: the type cannot be seen from the values.
            SchemaMismatch: they do not fit the type, or their number is not that of the rows.
        """
        values = jobs.column_values(name, values)
        self.flush()
        field = jobs.infer_field(name, values) if type is None else Field(name=name, type=type, nullable=True)
        field = pinned_field(field, self._opened.files)
        for _ in range(_ATTEMPTS):
            snapshot = self._open(self._lake.latest())
            if name in snapshot.schema.names:
                raise AlreadyExists(f"field {name!r} exists in collection {self.name!r}")
            check_analyzers([field], self._opened.files, snapshot.schema)
            try:
                return jobs.add_column(self._lake, snapshot, field, values, inputs=tuple(inputs))[1]
            except CommitConflict as error:
                # Compaction put the rows into other segments meanwhile.
                conflict, values = error, jobs.by_key(snapshot, name, values)
        raise conflict

    def drop_column(self, name: str) -> None:
        """Remove a field from the schema; metadata only. Older versions still have it."""
        base = self._lake.latest()
        field = base.schema.field(name)
        if name == base.schema.primary_key:
            raise InvalidArgument(f"field {name!r} is the primary key and cannot be dropped")
        drops = [DropIndex(name=spec.name) for spec in base.indexes if spec.field_id == field.id]
        self._lake.commit(
            base, [*drops, AlterSchema(base.schema, base.schema.drop(name))], operation=f"drop column {name}"
        )

    def rename_column(self, old: str, new: str) -> None:
        """Rename a field; metadata only."""
        base = self._lake.latest()
        renamed = base.schema.rename(old, new)
        number = base.schema.field(old).id
        ours = {one for s in base.segments for g in s.column_groups if g.file for one in g.field_ids}
        if base.source is not None and number in ours:
            # Its values are the lake's: no column of the files has the old name.
            fields = tuple(replace(one, source=None) if one.id == number else one for one in renamed.fields)
            renamed = replace(renamed, fields=fields)
        named = {key: new for key in _NAMING_FIELDS if base.properties.get(key) == old}
        renaming = (AlterSchema(base.schema, renamed), SetProperties(named))
        self._lake.commit(base, renaming, operation=f"rename column {old}")

    def __len__(self) -> int:
        return self.num_rows

    def __bool__(self) -> bool:
        # A collection without rows is one nevertheless, and nobody who asks wants them counted.
        return True

    def __repr__(self) -> str:
        try:
            return f"<collection {self.name!r}: {self.num_rows:,} rows at version {self.version}>"
        except HeadwaterError as error:
            return f"<collection {self.name!r}: {error.message}>"


def _legs(reqs: Any) -> list[dict[str, Any]]:
    """What the legs of a hybrid search look for, of those that are legs."""
    legs = (
        [one for one in reqs if isinstance(one, AnnSearchRequest)] if isinstance(reqs, list | tuple) else []
    )
    return [
        {"anns_field": one.anns_field, "filter": one.chosen_filter, "filter_params": one.chosen_params}
        for one in legs
    ]
