"""Computing schema functions: the columns that rows leave out, and queries given as texts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import SchemaMismatch
from headwater.jobs.embed_registry import EmbedderRegistry
from headwater.jobs.minhash import MinHasher
from headwater.schema import Field, Function, FunctionType, Schema, arrow_type

__all__ = ["Functions"]


class Functions:
    """Computes what the functions of a schema fill.

    Args:
        embedders: that this process knows.
    """

    def __init__(self, embedders: EmbedderRegistry | None = None) -> None:
        self.embedders = embedders or EmbedderRegistry()

    def check(self, schema: Schema) -> None:
        """Try every function of a schema on a word, so that none fails at the first insert.

        Raises:
            DimensionMismatch: an embedder gives vectors of another length than its field has.
            UnsupportedOption: a provider or a parameter is unknown.
            NotReady: an embedder is not registered in this process.
        """
        for one in schema.functions:
            if one.stored:
                self._vectors(one, schema.field(one.output), pa.array(["word"]), query=False)

    def fill(self, rows: pa.Table, schema: Schema, inputs: Collection[str] | None = None) -> pa.Table:
        """Rows with the columns that functions compute, appended.

        Args:
            rows: checked; hold the inputs.
            schema: names the functions.
            inputs: compute only what is made from these fields; all by default.

        Raises:
            SchemaMismatch: an input is null, and the output is not nullable; names row, field and function.
        """
        for one in schema.functions:
            if one.stored and (inputs is None or one.inputs[0] in inputs):
                field = schema.field(one.output)
                column = self.column(one, field, rows.column(one.inputs[0]))
                rows = rows.append_column(pa.field(one.output, column.type), column)
        return rows

    def complete(self, rows: pa.Table, schema: Schema) -> pa.Table:
        """Rows whose computed columns are filled wherever a value is missing that could be there.

        Args:
            rows: whole rows, some of them from before a function was added.
            schema: names the functions.
        """
        for one in schema.functions:
            if not one.stored:
                continue
            missing = one.unfilled(rows)
            count = missing.true_count
            if count:
                held = rows.column(one.output).combine_chunks()
                given = rows.column(one.inputs[0]).filter(missing)
                computed = self.column(one, schema.field(one.output), given)
                places = np.arange(len(held))
                places[missing.to_numpy(zero_copy_only=False)] = len(held) + np.arange(count)
                column = pa.concat_arrays([held, computed.cast(held.type)]).take(pa.array(places))
                rows = rows.set_column(rows.column_names.index(one.output), one.output, column)
        return rows

    def column(self, function: Function, field: Field, texts: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The output of a function over texts; each different text is computed once.

        Args:
            function: what to compute.
            field: that it fills.
            texts: (n,) of the input field.

        Returns:
            (n,) of the field's Arrow type; null where the text is.
        """
        whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        if whole.null_count and not field.nullable:
            row = int(np.argmin(whole.is_valid().to_numpy(zero_copy_only=False)))
            raise SchemaMismatch(
                f"row {row}, field {function.inputs[0]!r}: null, and function {function.name!r} fills "
                f"{field.name!r} from it, which is not nullable",
                row=row,
                field=function.inputs[0],
            )
        target = arrow_type(field.type)
        coded = pc.dictionary_encode(whole)
        vectors = self._vectors(function, field, coded.dictionary, query=False)
        indices = coded.indices
        if len(vectors) == 0:
            return pa.nulls(len(whole), target)
        rows = indices.fill_null(0).to_numpy(zero_copy_only=False)
        flat = pa.array(np.ascontiguousarray(vectors[rows]).reshape(-1), target.value_type)
        mask = indices.is_null() if indices.null_count else None
        return pa.FixedSizeListArray.from_arrays(flat, target.list_size, mask=mask)

    def queries(self, schema: Schema, field: Field, data: Any) -> Any:
        """Queries as vectors: texts go through the function that fills the field, all else is handed back.

        Raises:
            SchemaMismatch: texts are searched for in a field that no function fills.
        """
        texts = [data] if isinstance(data, str) else data
        if not isinstance(texts, list | tuple) or not texts or not all(isinstance(one, str) for one in texts):
            return data
        function = schema.outputs.get(field.name)
        if function is not None and not function.stored:
            return data
        if function is None:
            raise SchemaMismatch(
                f"queries on field {field.name!r} are texts, not numbers, and no function fills it from a text"
            )
        vectors = self._vectors(function, field, pa.array(texts), query=True)
        return vectors if function.type is FunctionType.TEXT_EMBEDDING else [one.tobytes() for one in vectors]

    def _vectors(self, function: Function, field: Field, texts: pa.Array, *, query: bool) -> Any:
        """(n, width) as stored."""
        if function.type is FunctionType.MINHASH:
            return MinHasher.of(function, field).signatures(texts)
        embedder = self.embedders.embedder(function, field)
        words = texts.to_pylist()
        return embedder.queries(words) if query else embedder.documents(words)
