"""A collection's schema functions: fields that the lake fills in, at insert and for the rows that are there."""

from __future__ import annotations

from headwater import jobs
from headwater.engine.maintaining import Maintaining
from headwater.errors import AlreadyExists, InvalidArgument
from headwater.jobs import BackfillReport, Progress
from headwater.lake import AlterSchema, Change, DropIndex
from headwater.schema import Field, FieldType, Function

__all__ = ["FunctionFields"]


class FunctionFields(Maintaining):
    """Functions added and dropped."""

    def add_function(
        self, function: Function, field: Field | FieldType, *, progress: Progress | None = None
    ) -> BackfillReport:
        """Add a field that a function fills, and fill it for the rows that are there.

        From the first moment new rows are filled as they come; the others read as null until their segment is done.
        Each segment is kept when it is done: a call that was cut short is taken up again by `backfill`.

        Args:
            function: reads a field that is there, and fills `field`.
            field: its output, which may be null; a type is enough.
            progress: called with (rows filled, rows to fill).

        Raises:
            AlreadyExists: there is a field or a function of the name.
            InvalidArgument: function and fields do not fit.
            DimensionMismatch: an embedder gives vectors of another length than the field has.
        """
        added = Field(function.output, field, nullable=True) if isinstance(field, FieldType) else field
        if added.name != function.output:
            raise InvalidArgument(
                f"function {function.name!r} fills {function.output!r}, got field {added.name!r}"
            )
        if not added.nullable and function.stored:
            raise InvalidArgument(
                f"field {added.name!r} must be nullable: it is null in the rows that are there until they are filled"
            )
        self.flush()
        base = self._lake.latest()
        names = [one.name for one in base.schema.functions]
        if added.name in base.schema.names or function.name in names:
            raise AlreadyExists(
                f"field {added.name!r} or function {function.name!r} exists in collection {self.name!r}",
                hint=f"backfill({function.name!r}) goes on where add_function was cut short",
            )
        after = base.schema.add_function(function, added)
        self._functions.check(after)
        done = self._lake.commit(
            base, [AlterSchema(base.schema, after)], operation=f"add function {function.name}"
        )
        self._log.advance(done)
        return self.backfill(function.name, progress=progress)

    def backfill(self, name: str, *, progress: Progress | None = None) -> BackfillReport:
        """Fill the output of a function in every segment that has no values of it.

        Args:
            name: the function's name.
            progress: called with (rows filled, rows to fill).

        Raises:
            FieldNotFound: there is no such function.
        """
        self.flush()
        report = jobs.backfill(self._lake, name, self._functions, self._open, progress=progress)
        self._log.advance(self._lake.latest())
        return report

    def drop_function(self, name: str) -> None:
        """Stop computing a field; metadata only.

        The field of a BM25 function goes with it, and its index. Any other keeps its values, and from now on rows bring
        it; `drop_column` removes it.

        Args:
            name: the function's name.

        Raises:
            FieldNotFound: there is no such function.
        """
        self.flush()
        base = self._lake.latest()
        after = base.schema.without_function(name)
        gone = {field.id for field in base.schema.fields} - {field.id for field in after.fields}
        drops: list[Change] = [DropIndex(spec.name) for spec in base.indexes if spec.field_id in gone]
        done = self._lake.commit(
            base, [*drops, AlterSchema(base.schema, after)], operation=f"drop function {name}"
        )
        self._log.advance(done)
