"""External collections as Milvus has them: declared first, filled by refresh jobs, with a key that the lake makes.

The key, `__virtual_pk__`, is the stable row id: it stays with a row for as long as its file is not rewritten, across
refreshes. Secrets in a spec are kept with the collection, because every process that serves it must open the source;
`use_iam` and `anonymous` keep none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headwater.engine.background import Job
from headwater.engine.creating import declare_external
from headwater.errors import AlreadyExists, Conflict, Corrupt, HeadwaterError, InvalidArgument
from headwater.lake import Change, JobRecord, JobState, SetProperties, SetSource
from headwater.lake.external import (
    SOURCE_PROPERTY,
    SPEC_PROPERTY,
    open_source,
    refresh,
    source_of,
    spec_options,
    without_secrets,
)
from headwater.schema import Field, Function

if TYPE_CHECKING:
    from headwater.engine.collection import Collection
    from headwater.engine.database import Database

__all__ = ["Externals"]


class Externals:
    """The external collections of a database that are filled by jobs.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def declare(
        self,
        name: str,
        fields: Sequence[Field],
        source: str,
        spec: str = "",
        *,
        functions: Sequence[Function] = (),
        properties: Mapping[str, str] | None = None,
    ) -> Collection:
        """Make an external collection without looking at its source; `refresh` brings the rows.

        Args:
            name: letters, digits and underscores.
            fields: each with `source=`, the column of the files; all become nullable.
            source: a URI; a folder means the files directly in it, a glob what it says. Empty for a collection whose
                source the first refresh brings.
            spec: JSON: `format` and `extfs`, as in Milvus; see `headwater.lake.external.spec`.
            functions: fields that the lake computes from the files'.
            properties: free text kept with the collection.

        Raises:
            AlreadyExists: the name is taken.
            UnsupportedOption: the format or a credential is not supported.
        """
        declare_external(self._database, name, fields, source, spec, functions, properties or {})
        return self._database.collection(name)

    def refresh(self, name: str, source: str | None = None, spec: str | None = None) -> JobRecord:
        """Bring a collection up to its source, in the background; only files that changed are read.

        Args:
            name: of the collection.
            source: take the rows from here from now on; kept when the refresh succeeds, with its rows, at one moment.
            spec: of the new source.

        Raises:
            InvalidArgument: the collection is managed; or only one of source and spec is given; or neither is, of a
                collection that has none.
            AlreadyExists: a refresh of it is in progress.
        """
        collection = self._database.collection(name)
        manifest = collection._lake.latest()
        if manifest.source is None:
            raise InvalidArgument(f"collection {name} is not an external collection")
        if (source is None) != (spec is None):
            raise InvalidArgument("source and spec of a refresh are given together, or not at all")
        if source is not None and spec is not None:
            source_of(source, spec)
        if source is None and not manifest.source.urls:
            raise InvalidArgument(
                f"external collection {name} has no persisted external_source/external_spec",
                hint="give both with the first refresh",
            )
        told = source or manifest.properties.get(SOURCE_PROPERTY) or ", ".join(manifest.source.urls)
        self._refuse_second(collection.name, 0)

        def work(job: Job) -> Mapping[str, Any]:
            self._refuse_second(collection.name, job.id)
            return self._refreshed(collection, job, source, spec, told)

        details = {
            "source": told,
            "spec": without_secrets(spec if spec is not None else manifest.properties.get(SPEC_PROPERTY, "")),
        }
        return self._database.jobs.start("refresh", self._database.name, collection.name, work, details)

    def _refuse_second(self, collection: str, mine: int) -> None:
        """Raise where an older refresh of the collection is under way."""
        for job in self._database.jobs.list("refresh", database=self._database.name, collection=collection):
            if (
                job.state in (JobState.PENDING, JobState.RUNNING)
                and job.id != mine
                and (not mine or job.id < mine)
            ):
                raise AlreadyExists(
                    f"refresh job {job.id} of external collection {collection} is already in progress"
                )

    def _refreshed(
        self, collection: Collection, job: Job, source: str | None, spec: str | None, told: str
    ) -> Mapping[str, Any]:
        lake = collection._lake
        extra: list[Change] = []
        if source is not None and spec is not None:
            where = source_of(source, spec)
            opened = open_source(where, spec_options(source, spec)[1])
            extra = [
                SetSource(where),
                SetProperties({SOURCE_PROPERTY: source, SPEC_PROPERTY: spec}),
            ]
        else:
            collection._follow(lake.latest())
            current = collection._source
            if current is None:
                raise InvalidArgument(f"collection {collection.name} is not an external collection")
            opened = current
        job.report(1, 10)
        try:
            _, report = refresh(
                lake,
                opened,
                limits=collection._settings.lake,
                fill=collection._functions.column,
                extra=extra,
                keep_some=True,
                progress=lambda done, total: job.report(total + 9 * done, 10 * total),
            )
        except (InvalidArgument, Conflict, Corrupt):
            raise
        except HeadwaterError as error:
            # Where the job has ended, that is why.
            job.report(1, 10)
            raise _unreadable(told, error) from error
        if collection._after_write is not None:
            collection._after_write()
        return {
            "rows": report.rows,
            "added": len(report.added),
            "changed": len(report.changed),
            "removed": len(report.removed),
        }


def _unreadable(told: str, error: HeadwaterError) -> HeadwaterError:
    why = error.message.splitlines()[0]
    return InvalidArgument(
        f"external source {told} cannot be read, check its bucket, path and credentials: {why}"
    )
