"""A collection's schema functions: fields that the lake fills in, at insert and for the rows that are there."""

from __future__ import annotations

from headwater.engine.maintaining import Maintaining
from headwater.lake import AlterSchema, Change, DropIndex

__all__ = ["FunctionFields"]


class FunctionFields(Maintaining):
    """Functions added and dropped."""

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
        self._lake.commit(base, [*drops, AlterSchema(base.schema, after)], operation=f"drop function {name}")
