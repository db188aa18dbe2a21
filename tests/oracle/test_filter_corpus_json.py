"""Filters on JSON, beside DuckDB's JSON functions: six thousand trees on every layout of rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from filter_corpus import (
    ATOM,
    CONDITION,
    EQUAL,
    RELATION,
    Dice,
    Rows,
    Text,
    check,
    combined,
    mixed_layouts,
    sql_join,
    sql_text,
)

import headwater as hw
from headwater.schema import DYNAMIC_FIELD, Field, Schema

COUNT = 120
CASES = 1400
WORDS = ["", "a", "ab", "12", "1.5", "é\"q'", "true", "x y", "\\"]
KEYS = ["k", "a.b", "a/b", 'q"q', "$", "é", "it's", "0", "n"]
"""Keys; some need quoting in every language of paths."""
NUMBERS = [0, 1, -1, 2, 5, 2**53, 2**53 + 1, 0.5, 1.0, -2.5, 1e20]
FIELDS = [Field("id", hw.Int64), Field("j", hw.JSON, nullable=True), Field("n", hw.Int64, nullable=True)]
SCHEMA = Schema.of(FIELDS, primary_key="id")
DYNAMIC = Schema.of(FIELDS, primary_key="id", dynamic=True)
IS_NUMBER = "IN ('BIGINT', 'UBIGINT', 'DOUBLE')"


def value(dice: Dice, depth: int) -> Any:
    kind = dice.random()
    if depth and kind < 0.3:
        return {key: value(dice, depth - 1) for key in dice.sample(KEYS, dice.randint(0, 4))}
    if depth and kind < 0.55:
        return [value(dice, depth - 1) for _ in range(dice.randint(0, 3))]
    return dice.choice([None, True, False, dice.choice(WORDS), dice.choice(NUMBERS), dice.randint(-3, 6)])


def rows(seed: int) -> pa.Table:
    dice = Dice(seed)
    documents = []
    for _ in range(COUNT):
        document = {key: value(dice, 2) for key in dice.sample(KEYS, dice.randint(2, 7))}
        document["flat"] = dice.choice([dice.randint(0, 5), dice.choice(WORDS), None, True, 1.5])
        documents.append(document)
    texts: list[str | None] = [json.dumps(one, ensure_ascii=dice.random() < 0.5) for one in documents]
    for at in dice.sample(range(COUNT), 9):
        texts[at] = dice.choice([None, "null", "[1, 2]", "3", '"text"', "{}"])
    free = [
        {"free": dice.randint(0, 3), "tags": dice.sample(["a", "b", "c"], dice.randint(0, 3))}
        for _ in range(COUNT)
    ]
    return pa.table(
        {
            "id": range(COUNT),
            "j": texts,
            "n": [dice.choice([None, 0, 1, 2, 5, 2**53 + 1]) for _ in range(COUNT)],
            DYNAMIC_FIELD: [json.dumps(one) if dice.random() < 0.8 else None for one in free],
        },
        DYNAMIC.to_arrow(),
    )


At = tuple[str, tuple[str | int, ...]]
"""A field and a path in it."""


def paths(dice: Dice, table: pa.Table, dynamic: bool) -> set[At]:
    """Paths that lead somewhere in some row, and some that do not."""
    found: set[At] = {("j", ("flat",)), ("j", ("none",)), ("j", (0,)), ("j", ("k", "k"))}
    if dynamic:
        found |= {(DYNAMIC_FIELD, ("free",)), (DYNAMIC_FIELD, ("tags",)), (DYNAMIC_FIELD, ("tags", 0))}
    counts: Counter[tuple[str | int, ...]] = Counter()
    for text in table.column("j").to_pylist():
        counts.update(_inside(json.loads(text), ()) if text else ())
    common = [steps for steps, _ in counts.most_common(26)]
    return found | {("j", steps) for steps in (*common, *dice.sample(sorted(counts, key=repr), 6))}


def _inside(value: Any, steps: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        yield (*steps, key)
        yield from _inside(member, (*steps, key))


def spelled(steps: tuple[str | int, ...]) -> str:
    """A path as DuckDB spells it."""
    text = "$"
    for one in steps:
        quoted = str(one).replace("\\", "\\\\").replace('"', '\\"')
        text += f"[{one}]" if isinstance(one, int) else f'."{quoted}"'
    return text


class Writer:
    """Trees over JSON paths, as text of ours and of SQL."""

    def __init__(self, seed: int, table: pa.Table, dynamic: bool) -> None:
        self.dice = Dice(seed)
        self.paths = sorted(paths(self.dice, table, dynamic), key=repr)
        self.params: dict[str, Any] = {}

    def case(self) -> tuple[Text, dict[str, Any]]:
        self.params = {}
        return combined(self.dice, self.leaf, 2, sql_join), self.params

    def leaf(self) -> Text:
        makers = [self.number, self.number, self.text, self.truth, self.member, self.pattern, self.presence]
        makers += [self.contains, self.contains, self.length, self.sum, self.pair, self.cast, self.equal_list]
        return self.dice.choice(makers)()

    def path(self) -> tuple[str, str]:
        """A path, and the column of the oracle that holds DuckDB's JSON at it."""
        dice = self.dice
        number = dice.randrange(len(self.paths))
        name, steps = self.paths[number]
        if name == DYNAMIC_FIELD and dice.random() < 0.5:
            name, steps = str(steps[0]), steps[1:]
        ours = name + "".join(
            f"[{one}]" if isinstance(one, int) else f"[{dice.quoted(one)}]" for one in steps
        )
        return ours, f"p{number}"

    def literal(self) -> tuple[str, Any]:
        dice = self.dice
        chosen = dice.choice([*NUMBERS, dice.randint(-3, 6), dice.randint(0, 5)])
        ours = repr(chosen)
        if dice.random() < 0.1:
            name = f"p{len(self.params)}"
            self.params[name] = chosen
            ours = "{" + name + "}"
        return ours, chosen

    def number(self) -> Text:
        dice = self.dice
        (ours, theirs), (literal, chosen) = self.path(), self.literal()
        op = dice.choice(["==", "!=", "<", "<=", ">", ">="])
        if dice.random() < 0.25 and isinstance(chosen, int):
            high = chosen + dice.randint(0, 4)
            below = _against(theirs, "<=", high)
            return Text(
                f"{literal} <= {ours} <= {high}", RELATION, f"({_against(theirs, '>=', chosen)} AND {below})"
            )
        if dice.random() < 0.2:
            flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op)
            return Text(f"{literal} {flipped} {ours}", _level(op), _against(theirs, op, chosen))
        return Text(f"{ours} {op} {literal}", _level(op), _against(theirs, op, chosen))

    def text(self) -> Text:
        dice = self.dice
        (ours, theirs), word = self.path(), dice.choice(WORDS)
        op = dice.choice(["==", "!=", "<", ">="])
        return Text(
            f"{ours} {op} {dice.quoted(word)}", _level(op), _as_text(theirs, f"{_sql(op)} {sql_text(word)}")
        )

    def truth(self) -> Text:
        dice = self.dice
        ours, theirs = self.path()
        held = f"(CASE WHEN json_type({theirs}) = 'BOOLEAN' THEN ({theirs} ->> '$') = 'true' END)"
        if dice.random() < 0.4:
            return Text(ours, ATOM, held)
        op, word = dice.choice(["==", "!="]), dice.choice(["true", "false"])
        return Text(f"{ours} {op} {dice.word(word)}", EQUAL, f"({held} {_sql(op)} {word})")

    def member(self) -> Text:
        dice = self.dice
        ours, theirs = self.path()
        numbers = [self.literal() for _ in range(dice.randint(0, 3))]
        words = dice.sample(WORDS, dice.randint(0 if numbers else 1, 3))
        ours_list = [one[0] for one in numbers] + [dice.quoted(word) for word in words]
        dice.shuffle(ours_list)
        cases = ""
        if numbers:
            held = " OR ".join(_against(theirs, "==", one[1]) for one in numbers)
            cases += f" WHEN json_type({theirs}) {IS_NUMBER} THEN ({held})"
        if words:
            held = ", ".join(sql_text(word) for word in words)
            cases += f" WHEN json_type({theirs}) = 'VARCHAR' THEN ({theirs} ->> '$') IN ({held})"
        word = dice.choice(["in", "not in"])
        sign = "NOT " if word == "not in" else ""
        return Text(
            f"{ours} {dice.word(word)} [{', '.join(ours_list)}]", CONDITION, f"({sign}(CASE{cases} END))"
        )

    def pattern(self) -> Text:
        dice = self.dice
        ours, theirs = self.path()
        if dice.random() < 0.5:
            pattern = dice.choice(["a%", "%", "%b", "_", "1%", "%\\%"])
            return Text(
                f"{ours} {dice.word('like')} {dice.quoted(pattern)}",
                CONDITION,
                _as_text(theirs, f"LIKE {sql_text(pattern)} ESCAPE '\\'"),
            )
        pattern = dice.choice(["^a", "[0-9]", "^.$", "\\\\"])
        test = f"regexp_matches({theirs} ->> '$', {sql_text(pattern)}, 's')"
        held = f"CASE WHEN json_type({theirs}) = 'VARCHAR' THEN {test} END"
        return Text(f"{ours} =~ {dice.quoted(pattern)}", CONDITION, f"({held})")

    def presence(self) -> Text:
        dice = self.dice
        ours, theirs = self.path()
        present = f"coalesce(json_type({theirs}) <> 'NULL', false)"
        kind = dice.choice(["exists", "is null", "is not null"])
        if kind == "exists":
            return Text(f"{dice.word('exists')} {ours}", CONDITION, f"({present})")
        sign = "NOT " if kind == "is null" else ""
        return Text(f"{ours} {dice.word(kind)}", CONDITION, f"({sign}{present})")

    def contains(self) -> Text:
        dice = self.dice
        ours, theirs = self.path()
        wanted = [dice.choice([self._wanted_number, self._wanted_word])() for _ in range(dice.randint(1, 3))]
        kind = dice.choice(["json_contains", "json_contains_all", "json_contains_any", "array_contains"])
        if kind in ("json_contains", "array_contains"):
            wanted = wanted[:1]
            argument = wanted[0][0]
        else:
            argument = "[" + ", ".join(one[0] for one in wanted) + "]"
        join = " OR " if kind.endswith("any") else " AND "
        held = join.join(
            f"len(list_filter({theirs}::JSON[], lambda e: coalesce({one[1]}, false))) > 0" for one in wanted
        )
        sql = f"(CASE WHEN json_type({theirs}) = 'ARRAY' THEN ({held}) END)"
        return Text(f"{dice.word(kind)}({ours}, {argument})", ATOM, sql)

    def _wanted_number(self) -> tuple[str, str]:
        ours, chosen = self.literal()
        return ours, _against("e", "==", chosen)

    def _wanted_word(self) -> tuple[str, str]:
        word = self.dice.choice(WORDS)
        return self.dice.quoted(word), _as_text("e", f"= {sql_text(word)}")

    def length(self) -> Text:
        dice = self.dice
        ours, theirs = self.path()
        op, size = dice.choice(["==", ">", "<="]), dice.randint(0, 3)
        held = f"(CASE WHEN json_type({theirs}) = 'ARRAY' THEN json_array_length({theirs}) {_sql(op)} {size} END)"
        return Text(f"{dice.word('array_length')}({ours}) {op} {size}", _level(op), held)

    def sum(self) -> Text:
        dice = self.dice
        (ours, theirs), sign = self.path(), dice.choice("+-*")
        op, step, limit = dice.choice(["==", "!=", "<", ">="]), dice.randint(1, 3), dice.randint(-3, 9)
        held = f"({_as_number(theirs)} {sign} {step}) {_sql(op)} {limit}"
        return Text(f"{ours} {sign} {step} {op} {limit}", _level(op), f"({held})")

    def pair(self) -> Text:
        """A path against a field, or another path, of small numbers and texts."""
        dice = self.dice
        (ours, theirs), op = self.path(), dice.choice(["==", "!=", "<", ">"])
        if dice.random() < 0.5:
            whole = f"WHEN json_type({theirs}) IN ('BIGINT', 'UBIGINT') THEN CAST({theirs} AS BIGINT) {_sql(op)} n"
            real = f"WHEN json_type({theirs}) = 'DOUBLE' THEN CAST({theirs} AS DOUBLE) {_sql(op)} CAST(n AS DOUBLE)"
            return Text(f"{ours} {op} n", _level(op), f"(CASE {whole} {real} END)")
        other, others = self.path()
        both = (
            f"json_type({theirs}) IN ('BIGINT', 'UBIGINT') AND json_type({others}) IN ('BIGINT', 'UBIGINT')"
        )
        real = f"json_type({theirs}) {IS_NUMBER} AND json_type({others}) {IS_NUMBER}"
        words = f"json_type({theirs}) = 'VARCHAR' AND json_type({others}) = 'VARCHAR'"
        cases = (
            f"WHEN {both} THEN CAST({theirs} AS BIGINT) {_sql(op)} CAST({others} AS BIGINT)"
            f" WHEN {real} THEN CAST({theirs} AS DOUBLE) {_sql(op)} CAST({others} AS DOUBLE)"
            f" WHEN {words} THEN ({theirs} ->> '$') {_sql(op)} ({others} ->> '$')"
        )
        if op in ("==", "!="):
            cases += (
                f" WHEN json_type({theirs}) = json_type({others}) AND json_type({theirs}) <> 'NULL'"
                f" THEN CAST({theirs} AS VARCHAR) {_sql(op)} CAST({others} AS VARCHAR)"
            )
        return Text(f"{ours} {op} {other}", _level(op), f"(CASE {cases} END)")

    def cast(self) -> Text:
        dice = self.dice
        (ours, theirs), limit = self.path(), dice.choice([0, 1, 1.5, 12])
        op = dice.choice(["==", ">", "<="])
        read = (
            f"CASE WHEN json_type({theirs}) = 'VARCHAR' THEN TRY_CAST(({theirs} ->> '$') AS DOUBLE) "
            f"WHEN json_type({theirs}) = 'BOOLEAN' THEN (CASE WHEN ({theirs} ->> '$') = 'true' THEN 1 ELSE 0 END) "
            f"WHEN json_type({theirs}) {IS_NUMBER} THEN CAST({theirs} AS DOUBLE) END"
        )
        return Text(
            f"{dice.word('cast')}({ours} as double) {op} {limit}",
            _level(op),
            f"(({read}) {_sql(op)} {limit})",
        )

    def equal_list(self) -> Text:
        dice = self.dice
        ours, theirs = self.path()
        wanted = [self._wanted_word() for _ in range(dice.randint(0, 2))]
        op = dice.choice(["==", "!="])
        tests = [f"json_array_length({theirs}) = {len(wanted)}"]
        tests += [
            f"coalesce({one[1].replace('(e ', f'(({at}) ').replace('(e)', f'({at})')}, false)"
            for one, at in zip(
                wanted, [f"json_extract({theirs}, '$[{k}]')" for k in range(len(wanted))], strict=True
            )
        ]
        held = f"CASE WHEN json_type({theirs}) = 'ARRAY' THEN {'NOT ' if op == '!=' else ''}({' AND '.join(tests)}) END"
        return Text(f"{ours} {op} [{', '.join(one[0] for one in wanted)}]", EQUAL, f"({held})")


def _level(op: str) -> int:
    return EQUAL if op in ("==", "!=") else RELATION


def _sql(op: str) -> str:
    return "=" if op == "==" else op


def _as_number(path: str) -> str:
    return f"(CASE WHEN json_type({path}) {IS_NUMBER} THEN CAST({path} AS DOUBLE) END)"


def _as_text(path: str, test: str) -> str:
    return f"(CASE WHEN json_type({path}) = 'VARCHAR' THEN ({path} ->> '$') {test} END)"


def _against(path: str, op: str, number: float) -> str:
    """A comparison with a number; integers with integers exactly."""
    real = f"CAST({path} AS DOUBLE) {_sql(op)} CAST({number!r} AS DOUBLE)"
    if isinstance(number, float):
        return f"(CASE WHEN json_type({path}) {IS_NUMBER} THEN {real} END)"
    whole = f"CAST({path} AS BIGINT) {_sql(op)} ({number})"
    return (
        f"(CASE WHEN json_type({path}) IN ('BIGINT', 'UBIGINT') THEN {whole} "
        f"WHEN json_type({path}) = 'DOUBLE' THEN {real} END)"
    )


def answers(table: pa.Table, paths: list[At], texts: list[str]) -> list[list[int]]:
    connection = duckdb.connect(config={"threads": 1})
    connection.register("given", table)
    columns = [
        f'json_extract("{name}"::JSON, {sql_text(spelled(steps))}) AS p{k}'
        for k, (name, steps) in enumerate(paths)
    ]
    connection.execute(f"CREATE TABLE t AS SELECT id, n, {', '.join(columns)} FROM given")
    found: list[list[int]] = []
    for start in range(0, len(texts), 40):
        some = ", ".join(f"({text}) AS c{k}" for k, text in enumerate(texts[start : start + 40]))
        answered = connection.sql(f"SELECT {some} FROM t ORDER BY id").to_arrow_table()
        for column in answered.columns:
            held = column.combine_chunks().fill_null(False).to_numpy(zero_copy_only=False)
            found.append(held.nonzero()[0].tolist())
    return found


@pytest.mark.parametrize("seed", range(3))
def test_filters_on_json_mean_what_duckdb_finds(tmp_path: Path, seed: int) -> None:
    dynamic = seed == 0
    table = rows(seed)
    schema = DYNAMIC if dynamic else SCHEMA
    laid_out = Rows.laid_out(tmp_path, schema, table.select(schema.names))
    layouts = mixed_layouts(2, external=not dynamic)
    writer = Writer(seed, table, dynamic)
    if seed == 2:
        casts = ["JSON", "DOUBLE", "VARCHAR", "BOOL", "ARRAY_DOUBLE", "ARRAY_VARCHAR"]
        some = [steps for name, steps in writer.paths if name == "j"][:24]
        declared = [
            {
                "json_path": "j" + "".join(f"[{json.dumps(one)}]" for one in steps),
                "json_cast_type": casts[k % 6],
            }
            for k, steps in enumerate(some)
        ]
        layouts += laid_out.indexed(tmp_path, 1, declared) * 2
    cases = [writer.case() for _ in range(CASES)]
    expected = answers(table, writer.paths, [case.theirs for case, _ in cases])
    assert check(laid_out, cases, expected, layouts) == CASES
    assert sum(0 < len(one) < COUNT for one in expected) > CASES // 3, "the corpus asks nothing"
