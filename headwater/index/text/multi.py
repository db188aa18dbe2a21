"""Several analyzers over one field: another field of the row says by its value which of them cuts the text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.index.text.analyzer import Analyzer, Tokens, joined_tokens

__all__ = ["DEFAULT", "MultiAnalyzer"]

DEFAULT = "default"
"""The analyzer of rows whose value names no other."""


class MultiAnalyzer:
    """Analyzers by name. Safe to use from several threads.

    Args:
        by_field: the field whose value names the analyzer of a row.
        analyzers: by name; `DEFAULT` is one of them.
        alias: other values that stand for names.
    """

    def __init__(self, by_field: str, analyzers: Mapping[str, Analyzer], alias: Mapping[str, str]) -> None:
        self.by_field = by_field
        self._analyzers = dict(analyzers)
        self._alias = dict(alias)

    def chosen(self, name: str | None) -> str:
        """The name of the analyzer that a value stands for."""
        found = self._alias.get(name or "", name or DEFAULT)
        return found if found in self._analyzers else DEFAULT

    def named(self, name: str | None) -> Analyzer:
        """The analyzer that a value stands for."""
        return self._analyzers[self.chosen(name)]

    def analyze(self, texts: pa.Array | pa.ChunkedArray, values: pa.Array | pa.ChunkedArray) -> Tokens:
        """The terms of a column.

        Args:
            texts: (n,) strings; nulls have no terms.
            values: (n,) of the field that chooses.
        """
        texts, values = _whole(texts), _whole(values)
        coded = values.dictionary_encode()
        names = [self.chosen(value) for value in coded.dictionary.to_pylist()]
        codes = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
        by_code = np.array([*names, DEFAULT], dtype=object)[codes]
        parts = []
        for name in sorted(set(by_code.tolist())):
            mine = pc.if_else(pa.array(by_code == name), texts, None)
            parts.append(self._analyzers[name].analyze(mine.cast(pa.string())))
        together = joined_tokens(parts)
        order = np.argsort(together.rows, kind="stable")
        return Tokens(
            together.vocabulary, together.terms[order], together.rows[order], together.positions[order]
        )


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
