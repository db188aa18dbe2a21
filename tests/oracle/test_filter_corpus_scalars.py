"""Filters on numbers, texts, truth values and timestamps, beside SQL: ten thousand trees on every layout of rows."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from filter_corpus import (
    ATOM,
    BIT_AND,
    BIT_OR,
    BIT_XOR,
    CONDITION,
    EQUAL,
    POWER,
    PRODUCT,
    RELATION,
    SUM,
    UNARY,
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
from headwater.schema import Field, Schema

UTC = datetime.UTC
TEXTS = ["", "a", "ab", "abc", "b%", "a_c", "é", "%", "A\\b", "it's", 'q"', "line\nbreak", "日本", "ab" * 20]
PATTERNS = [
    "a%",
    "%b%",
    "_",
    "a_c",
    "%",
    "",
    "__%",
    "%c",
    "a%c",
    "_\\%",
    "a\\_c",
    "%\\\\%",
    "日_",
    "%é%",
    "a%b%c%",
]
REGEXES = ["^a", "b$", "[a-c]+", "^.?$", "é|日", "a.c", "\\\\", "x*", "^(ab)+$", "(?i)A"]
BIG = [-(2**63), -(2**53) - 1, -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 1]
START = datetime.datetime(2024, 1, 31, 23, 30, tzinfo=UTC)
SCHEMA = Schema.of(
    [
        Field("id", hw.Int64),
        Field("tiny", hw.Int8, nullable=True),
        Field("i", hw.Int32, nullable=True),
        Field("n", hw.Int64),
        Field("big", hw.Int64, nullable=True),
        Field("f", hw.Float, nullable=True),
        Field("d", hw.Double, nullable=True),
        Field("s", hw.VarChar(100), nullable=True),
        Field("w", hw.VarChar(100)),
        Field("b", hw.Bool, nullable=True),
        Field("t", hw.TimestampTz, nullable=True),
    ],
    primary_key="id",
)
COUNT = 120
CASES = 2400


def rows(seed: int) -> pa.Table:
    dice = Dice(seed)
    rare = seed % 3 / 6

    def column(make: Any) -> list[Any]:
        return [None if dice.random() < 0.05 + rare else make() for _ in range(COUNT)]

    return pa.table(
        {
            "id": range(COUNT),
            "tiny": column(lambda: dice.choice([-128, -7, -1, 0, 1, 5, 127])),
            "i": column(lambda: dice.randint(-9, 9)),
            "n": [k // 4 - 9 for k in range(COUNT)],
            "big": column(lambda: dice.choice(BIG)),
            "f": column(lambda: dice.choice([-2.5, -0.0, 0.1, 0.5, 1.0, 3.25, 1e10])),
            "d": column(lambda: dice.choice([-2.5, -0.0, 0.0, 0.1, 0.5, 1.0, 7.0, 1e30])),
            "s": column(lambda: dice.choice(TEXTS)),
            "w": [dice.choice(TEXTS) for _ in range(COUNT)],
            "b": column(lambda: dice.random() < 0.5),
            "t": column(
                lambda: START + datetime.timedelta(days=dice.randint(-60, 60), seconds=dice.randint(0, 9))
            ),
        },
        SCHEMA.to_arrow(),
    )


class Writer:
    """Trees over the fields, as text of ours and of SQL."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)
        self.params: dict[str, Any] = {}

    def case(self) -> tuple[Text, dict[str, Any]]:
        self.params = {}
        return combined(self.dice, self.leaf, 2, sql_join), self.params

    def leaf(self) -> Text:
        makers = [self.comparison] * 4 + [
            self.chain,
            self.member,
            self.member,
            self.pattern,
            self.null,
            self.truth,
        ]
        return self.dice.choice([*makers, self.moment, self.moment, self.bits])()

    def given(self, value: Any, ours: str) -> str:
        """A literal, sometimes as a template."""
        if self.dice.random() > 0.1:
            return ours
        name = f"p{len(self.params)}"
        self.params[name] = value
        return "{" + name + "}"

    def number(self, field: str | None = None) -> Text:
        dice = self.dice
        value: float = (
            dice.randint(-10, 10) if dice.random() < 0.6 else dice.choice([-2.5, 0.1, 0.5, 2.0, 1e300, 300])
        )
        if field == "big":
            value = dice.choice(BIG[1:])
        theirs = f"CAST({value!r} AS DOUBLE)" if isinstance(value, float) else f"({value})"
        if field == "f":
            theirs = f"CAST({value!r} AS FLOAT)" if abs(value) < 1e38 else "CAST('inf' AS FLOAT)"
        ours = repr(value)
        if isinstance(value, int) and value > 1 and dice.random() < 0.1:
            ours = dice.choice([hex(value), bin(value), f"0{value:o}"])
        ours = self.given(value, ours)
        return Text(ours, UNARY if ours.startswith("-") else ATOM, theirs)

    def name(self, *names: str) -> Text:
        name = self.dice.choice(names)
        return Text(name, ATOM, name)

    def term(self, depth: int = 2, literals: bool = True) -> tuple[Text, bool]:
        """A number, and whether it is an integer; those are small enough for SQL not to overflow."""
        dice = self.dice
        if depth == 0 or dice.random() < 0.4:
            if literals and dice.random() < 0.3:
                value = str(dice.randint(0, 6))
                return Text(value, ATOM, f"{value}::BIGINT"), True
            name = dice.choice(["tiny", "i", "n", "d"])
            return Text(name, ATOM, name if name == "d" else f"{name}::BIGINT"), name != "d"
        op = dice.choice(["+", "-", "*", "/", "%", "**", "neg"])
        left, whole = self.term(depth - 1)
        if op == "neg":
            return Text("-" + left.within(POWER, dice), UNARY, f"(-{left.theirs})"), whole
        if op == "**":
            power = str(dice.randint(0, 2))
            theirs = f"pow(CAST({left.theirs} AS DOUBLE), {power})"
            return Text(f"{left.within(POWER, dice)} ** {power}", POWER, theirs), False
        # A literal divided by a literal zero is an error, not unknown.
        right, other_whole = self.term(0, False) if op in "/%" else self.term(depth - 1)
        level = SUM if op in "+-" else PRODUCT
        ours = f"{left.within(level, dice)} {op} {right.within(level + 1, dice)}"
        one, other = left.theirs, right.theirs
        theirs = f"({one} {op} {other})"
        if op == "/" and whole and other_whole:
            theirs = f"CAST(trunc({one}::DOUBLE / {other}) AS BIGINT)"
        if op in "/%":
            theirs = f"(CASE WHEN {other} <> 0 THEN {theirs} END)"
        return Text(ours, level, theirs), whole and other_whole

    def comparison(self) -> Text:
        dice = self.dice
        op = dice.choice(["==", "!=", "<", "<=", ">", ">="])
        kind = dice.random()
        if kind < 0.5:
            left = self.name("tiny", "i", "n", "big", "f", "d")
            right = self.number(left.ours)
            if dice.random() < 0.2 and left.ours != "f":
                left, right = right, left
        elif kind < 0.65:
            left = self.name("s", "w")
            right = self.text()
        elif kind < 0.75:
            left, right = self.name("tiny", "i", "n"), self.name("tiny", "i", "n", "d")
        else:
            left, right = self.arithmetic(), self.arithmetic()
        level = EQUAL if op in ("==", "!=") else RELATION
        ours = f"{left.within(level + 1, dice)} {op} {right.within(level + 1, dice)}"
        return Text(ours, level, f"({left.theirs} {'=' if op == '==' else op} {right.theirs})")

    def arithmetic(self) -> Text:
        return self.term()[0]

    def text(self) -> Text:
        value = self.dice.choice(TEXTS)
        return Text(self.given(value, self.dice.quoted(value)), ATOM, sql_text(value))

    def chain(self) -> Text:
        dice = self.dice
        ops = [
            dice.choice(pair)
            for pair in dice.choice([(("<", "<="), ("<", "<=")), ((">", ">="), (">", ">="))])
        ]
        if dice.random() < 0.3:
            field, low, high = self.name("s", "w"), self.text(), self.text()
        else:
            field = self.name("tiny", "i", "n", "d")
            low, high = self.number(), self.number()
        ours = f"{low.ours} {ops[0]} {field.ours} {ops[1]} {high.ours}"
        first = f"{low.theirs} {ops[0]} {field.theirs}"
        return Text(ours, RELATION, f"({first} AND {field.theirs} {ops[1]} {high.theirs})")

    def member(self) -> Text:
        dice = self.dice
        field = self.name("tiny", "i", "n", "big", "f", "d", "s", "w", "b")
        name = field.ours
        if name in "sw":
            items = [self.text() for _ in range(dice.randint(1, 5))]
        elif name == "b":
            items = [Text(dice.word("true", "True"), ATOM, "true")]
        else:
            items = [self.number(name) for _ in range(dice.randint(1, 5))]
        sign = dice.choice(["in", "not in"])
        comma = dice.choice(["", ","])
        ours = f"{name} {dice.word(sign)} [{', '.join(one.ours for one in items)}{comma}]"
        negated = "NOT " if sign == "not in" else ""
        return Text(ours, CONDITION, f"({negated}({' OR '.join(f'{name} = {one.theirs}' for one in items)}))")

    def pattern(self) -> Text:
        dice = self.dice
        field = self.name("s", "w").ours
        kind = dice.choice(["like", "like", "=~", "!~", "starts_with", "ends_with", "empty"])
        if kind == "like":
            pattern = dice.choice(PATTERNS)
            negated = dice.choice(["", "not "])
            ours = f"{field} {dice.word(negated + 'like')} {self.given(pattern, dice.quoted(pattern))}"
            return Text(ours, CONDITION, f"({field} {negated}LIKE {sql_text(pattern)} ESCAPE '\\')")
        if kind in ("=~", "!~"):
            pattern = dice.choice(REGEXES)
            sign = "NOT " if kind == "!~" else ""
            ours = f"{field} {kind} {self.given(pattern, dice.quoted(pattern))}"
            return Text(ours, CONDITION, f"({sign}regexp_matches({field}, {sql_text(pattern)}, 's'))")
        if kind == "empty":
            return Text(f"{dice.word('empty')}({field})", ATOM, f"({field} = '')")
        part = dice.choice(TEXTS)
        return Text(
            f"{dice.word(kind)}({field}, {dice.quoted(part)})", ATOM, f"{kind}({field}, {sql_text(part)})"
        )

    def null(self) -> Text:
        field = self.name("tiny", "i", "n", "big", "d", "s", "b", "t").ours
        word = self.dice.choice(["is null", "is not null"])
        return Text(f"{field} {self.dice.word(word)}", CONDITION, f"({field} {word})")

    def truth(self) -> Text:
        dice = self.dice
        kind = dice.random()
        if kind < 0.4:
            return Text("b", ATOM, "b")
        op, value = dice.choice(["==", "!="]), dice.choice(["true", "false"])
        theirs = "=" if op == "==" else op
        if kind < 0.7:
            return Text(f"b {op} {dice.word(value)}", EQUAL, f"(b {theirs} {value})")
        inner = self.comparison()
        return Text(f"({inner.ours}) {op} b", EQUAL, f"({inner.theirs} {theirs} b)")

    def bits(self) -> Text:
        dice = self.dice
        op, level = dice.choice(
            [("&", BIT_AND), ("|", BIT_OR), ("^", BIT_XOR), ("<<", SUM), (">>", SUM), ("~", UNARY)]
        )
        field, value = self.name("tiny", "i", "n").ours, dice.randint(0, 15)
        if op == "~":
            ours, theirs = f"~{field}", f"(-1 - {field}::BIGINT)"
        elif level == SUM:
            shift = dice.randint(0, 5)
            ours = f"({field} & 15) {op} {shift}"
            theirs = f"(({field}::BIGINT & 15) {op} {shift})"
        elif op == "^":
            ours, theirs = f"({field} ^ {value})", f"xor({field}::BIGINT, {value}::BIGINT)"
        else:
            ours, theirs = f"({field} {op} {value})", f"({field}::BIGINT {op} {value}::BIGINT)"
        sign, right = dice.choice(["==", "!=", "<", ">"]), dice.randint(-4, 20)
        shown = "=" if sign == "==" else sign
        return Text(
            f"{ours} {sign} {right}",
            EQUAL if sign in ("==", "!=") else RELATION,
            f"({theirs} {shown} {right})",
        )

    def moment(self) -> Text:
        dice = self.dice
        at = START + datetime.timedelta(days=dice.randint(-70, 70), hours=dice.randint(-30, 30))
        zone = datetime.timezone(datetime.timedelta(minutes=dice.choice([0, 0, 480, -330])))
        text = at.astimezone(zone).isoformat(sep=dice.choice("T "))
        literal = dice.quoted(text.replace("+00:00", dice.choice(["+00:00", "Z", ""])))
        if dice.random() < 0.7:
            literal = f"{dice.word('iso')} {literal}"
        op = dice.choice(["==", "!=", "<", "<=", ">", ">="])
        theirs_op = "=" if op == "==" else op
        sql = f"TIMESTAMP '{at.replace(tzinfo=None).isoformat(sep=' ')}'"
        if dice.random() < 0.4:
            return Text(
                f"t {op} {literal}", EQUAL if op in ("==", "!=") else RELATION, f"(t {theirs_op} {sql})"
            )
        months, days, hours = dice.choice([0, 1, 2, 13]), dice.randint(0, 40), dice.choice([0, 5])
        duration = "P" + (f"{months}M" if months else "") + f"{days}D" + (f"T{hours}H" if hours else "")
        sign = dice.choice("+-")
        moved = f"t {sign} INTERVAL {months} MONTH {sign} INTERVAL {days} DAY {sign} INTERVAL {hours} HOUR"
        shifted = f"t {sign} {dice.word('interval')} '{duration}'"
        if dice.random() < 0.3:
            flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op)
            ours = f"{literal} {flipped} {shifted}"
        else:
            ours = f"{shifted} {op} {literal}"
        return Text(ours, EQUAL if op in ("==", "!=") else RELATION, f"({moved} {theirs_op} {sql})")


def answers(connection: duckdb.DuckDBPyConnection, texts: list[str]) -> list[list[int]]:
    """Rows that SQL selects, for many conditions at a time."""
    found: list[list[int]] = []
    for start in range(0, len(texts), 40):
        columns = ", ".join(f"({text}) AS c{k}" for k, text in enumerate(texts[start : start + 40]))
        table = connection.sql(f"SELECT {columns} FROM t ORDER BY id").to_arrow_table()
        for column in table.columns:
            held = column.combine_chunks().fill_null(False).to_numpy(zero_copy_only=False)
            found.append(held.nonzero()[0].tolist())
    return found


def oracle(table: pa.Table) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    at = table.schema.get_field_index("t")
    plain = table.set_column(at, "t", table.column("t").cast(pa.timestamp("us")))
    connection.register("given", plain)
    connection.execute("CREATE TABLE t AS SELECT * FROM given")
    return connection


@pytest.mark.parametrize("seed", range(4))
def test_filters_on_scalars_mean_what_sql_does(tmp_path: Path, seed: int) -> None:
    table = rows(seed)
    laid_out = Rows.laid_out(tmp_path, SCHEMA, table)
    layouts = mixed_layouts(2)
    layouts += laid_out.indexed(tmp_path, 5 if seed == 0 else 0)
    writer = Writer(seed)
    cases = [writer.case() for _ in range(CASES)]
    expected = answers(oracle(table), [case.theirs for case, _ in cases])
    assert check(laid_out, cases, expected, layouts) == CASES
    selective = sum(0 < len(one) < COUNT for one in expected)
    assert selective > CASES // 2, "the corpus asks nothing"
