"""What the filter corpus is checked with: one set of rows laid out in every way that rows can lie, and text of filters
written with as few parentheses as precedence allows.

An expression is generated as a pair: text of our language, and the oracle's own form of the same tree. The two share no
code beyond the dice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

import headwater as hw
from headwater.query import expr
from headwater.schema import Schema
from headwater.testing.table_rows import TableRows
from headwater.types import DataType

LAYOUTS = ("table", "growing", "sealed", "external")
"""In memory without a lake; in the log; in segments; in files that others own."""

INDEXES: dict[DataType, tuple[str, ...]] = {
    **dict.fromkeys(
        (DataType.INT8, DataType.INT32, DataType.INT64),
        ("AUTOINDEX", "STL_SORT", "INVERTED", "BITMAP", "BLOOM"),
    ),
    DataType.VARCHAR: ("NGRAM", "STL_SORT", "INVERTED", "BITMAP", "TRIE"),
    DataType.BOOL: ("AUTOINDEX", "BITMAP", "INVERTED"),
    DataType.FLOAT: ("AUTOINDEX", "STL_SORT", "INVERTED"),
    DataType.DOUBLE: ("AUTOINDEX", "STL_SORT", "INVERTED"),
    DataType.TIMESTAMPTZ: ("AUTOINDEX", "STL_SORT"),
    DataType.ARRAY: ("BITMAP", "INVERTED", "BLOOM", "AUTOINDEX"),
    DataType.GEOMETRY: ("RTREE",),
}
"""Kinds of scalar index that each type of field can have; each round of `indexed` takes the next of each."""

(
    OR,
    AND,
    NOT,
    BIT_OR,
    BIT_XOR,
    BIT_AND,
    EQUAL,
    RELATION,
    CONDITION,
    SHIFT,
    SUM,
    PRODUCT,
    UNARY,
    POWER,
    ATOM,
) = range(15)
"""How tightly forms bind, loosest first."""


class Text(NamedTuple):
    """Text of our language, how tightly its outermost form binds, and the oracle's form of the same tree."""

    ours: str
    binds: int
    theirs: Any

    def within(self, level: int, dice: random.Random) -> str:
        """The text as an operand of a form: in parentheses where they are needed, and sometimes where not."""
        needed = self.binds < level or dice.random() < 0.05
        return f"({self.ours})" if needed else self.ours


class Dice(random.Random):
    """Seeded choices of what does not matter: case of words, kinds of quotes, blanks."""

    def word(self, *spellings: str) -> str:
        """One spelling, in lower or upper case."""
        chosen = self.choice(spellings)
        return chosen.upper() if self.random() < 0.3 else chosen

    def quoted(self, text: str) -> str:
        """A literal of ours that reads as `text`."""
        if "\\" not in text and "'" not in text and self.random() < 0.2:
            return f"r'{text}'"
        mark = self.choice("'\"")
        escaped = text.replace("\\", "\\\\").replace(mark, "\\" + mark).replace("\n", "\\n")
        if escaped and self.random() < 0.1:
            escaped = (
                "".join(f"\\u{ord(c):04x}" if c.isalpha() and ord(c) < 0x10000 else c for c in escaped)
                if ("\\" not in escaped)
                else escaped
            )
        return mark + escaped + mark


@dataclass
class Rows:
    """One set of rows, laid out in each way.

    Attributes:
        schema: has an Int64 primary key `id`, which counts the rows.
        table: the rows.
        collections: by layout.
    """

    schema: Schema
    table: pa.Table
    collections: dict[str, hw.Collection]

    def __post_init__(self) -> None:
        self._rows = TableRows(self.table)

    @classmethod
    def laid_out(cls, folder: Path, schema: Schema, table: pa.Table) -> Rows:
        """The rows in the log, in three segments, and in three files."""
        db = hw.connect(folder / "lake")
        growing = db.create_collection("growing", schema, "id")
        growing.insert(table)
        sealed = db.create_collection("sealed", schema, "id")
        source = folder / "source"
        source.mkdir()
        third = -(-table.num_rows // 3)
        for start in range(0, table.num_rows, third):
            part = table.slice(start, third)
            sealed.insert(part)
            sealed.flush()
            pq.write_table(part, source / f"{start:06}.parquet", row_group_size=max(1, third // 2))
        collections = {"growing": growing, "sealed": sealed}
        if not schema.dynamic:
            collections["external"] = db.create_external_collection(
                "external", source, schema=schema, primary_key="id"
            )
        return cls(schema, table, collections)

    def indexed(self, folder: Path, rounds: int, paths: Sequence[dict[str, Any]] = ()) -> list[str]:
        """The rows once more for each round, with indexes on every field that can have one; the new layouts.

        Args:
            folder: where they go.
            rounds: each takes the next kind of each field's type.
            paths: parameters of indexes on the JSON field `j`.
        """
        db = hw.connect(folder / "indexed")
        for number in range(rounds):
            made = db.create_collection(f"indexed_{number}", self.schema, "id")
            half = self.table.num_rows // 2
            for part in (self.table.slice(0, half), self.table.slice(half)):
                made.insert(part)
                made.flush()
            for field in self.schema.fields:
                kinds = INDEXES.get(field.type.data_type, ())
                if kinds and field.name not in ("id", "j"):
                    kind = kinds[number % len(kinds)]
                    element = field.type.element
                    fractions = element is not None and element.data_type in (DataType.FLOAT, DataType.DOUBLE)
                    # Fractions have no bitmaps.
                    made.create_index(field.name, "INVERTED" if fractions and kind == "BITMAP" else kind)
            for params in paths:
                made.create_index("j", "AUTOINDEX", params=params)
            self.collections[f"indexed_{number}"] = made
        return [f"indexed_{number}" for number in range(rounds)]

    def selected(self, text: str, params: dict[str, Any], layout: str) -> list[int]:
        """Keys of the rows that a filter selects, ascending."""
        if layout == "table":
            bound = expr.bind(expr.parse(text, params), self.schema)
            return [i for i, held in enumerate(expr.evaluate(bound, self._rows).tolist()) if held]
        found = self.collections[layout].query(text, output_fields=["id"], filter_params=params)
        keys: list[int] = sorted(found.to_arrow().column("id").to_pylist())
        return keys


def check(
    rows: Rows,
    cases: Sequence[tuple[Text, dict[str, Any]]],
    expected: Iterable[list[int]],
    layouts: Sequence[str],
) -> int:
    """Check each case on the layout whose turn it is; the number of cases."""
    done = 0
    for (case, params), wanted in zip(cases, expected, strict=True):
        layout = layouts[done % len(layouts)]
        found = rows.selected(case.ours, params, layout)
        if found != wanted:
            wrong = sorted(set(found) ^ set(wanted))
            shown = rows.table.take(pa.array(wrong[:3])).to_pylist()
            raise AssertionError(
                f"{layout}: {case.ours!r} with {params}\n  means {case.theirs!r}\n"
                f"  found {found[:9]}, expected {wanted[:9]}; first that differ: {shown}"
            )
        done += 1
    return done


def mixed_layouts(share_of_lakes: int, *, external: bool = True) -> list[str]:
    """Layouts in turn: so many times the table, then each of the lake's."""
    lakes = LAYOUTS[1:] if external else LAYOUTS[1:-1]
    return [one for lake in lakes for one in (*["table"] * share_of_lakes, lake)]


# -- logic over any conditions ----------------------------------------------------------------------------------------


def combined(dice: Dice, leaf: Callable[[], Text], depth: int, join: Callable[[str, list[Any]], Any]) -> Text:
    """A tree of and, or and not over leaves.

    Args:
        dice: the choices.
        leaf: makes a condition.
        depth: most levels of logic.
        join: the oracle's and, or, not of its own forms.
    """
    if depth == 0 or dice.random() < 0.35:
        return leaf()
    kind = dice.choice(("and", "and", "or", "or", "not"))
    if kind == "not":
        inner = combined(dice, leaf, depth - 1, join)
        sign = dice.choice(("not ", "NOT ", "!"))
        return Text(sign + inner.within(NOT if sign != "!" else ATOM, dice), NOT, join("not", [inner.theirs]))
    level, word = (AND, dice.word("and", "&&")) if kind == "and" else (OR, dice.word("or", "||"))
    items = [combined(dice, leaf, depth - 1, join) for _ in range(dice.randint(2, 3))]
    ours = f" {word} ".join(one.within(level + 1, dice) for one in items)
    return Text(ours, level, join(kind, [one.theirs for one in items]))


def sql_join(kind: str, items: list[str]) -> str:
    """Logic of SQL."""
    return f"(NOT {items[0]})" if kind == "not" else "(" + f" {kind.upper()} ".join(items) + ")"


def python_join(kind: str, items: list[Callable[[Any], bool | None]]) -> Callable[[Any], bool | None]:
    """Three-valued logic of Python functions of a row."""

    def evaluated(row: Any) -> bool | None:
        values = [item(row) for item in items]
        if kind == "not":
            return None if values[0] is None else not values[0]
        decisive = kind == "or"
        if decisive in values:
            return decisive
        return None if None in values else not decisive

    return evaluated


def sql_text(text: str) -> str:
    """A text literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
