"""A list of prices, and the file that it is read from."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from headwater.errors import InvalidArgument

__all__ = ["EXAMPLE_PRICES", "Prices", "load_prices"]


@dataclass(frozen=True)
class Prices:
    """What things cost. A GB is 10^9 bytes, a month 730 hours.

    The defaults are an example, of the order of public list prices of large clouds in November 2026; they are
    nobody's offer. Give your own.

    Attributes:
        storage_gb_month: of object storage.
        get_per_1000: reads of an object or a range of one; heads and listings are counted as reads.
        put_per_1000: writes.
        egress_gb: of bytes that leave the store for where the queries run; nothing within one region as a rule.
        memory_gb_hour: of memory of a machine.
        ssd_gb_month: of a disk of a machine.
        core_hour: of a core of a machine, its memory not included.
        currency: what the numbers are in, for show.
        as_of: when they held, for show.
    """

    storage_gb_month: float = 0.023
    get_per_1000: float = 0.0004
    put_per_1000: float = 0.005
    egress_gb: float = 0.0
    memory_gb_hour: float = 0.0045
    ssd_gb_month: float = 0.08
    core_hour: float = 0.035
    currency: str = "USD"
    as_of: str = "example prices, November 2026"

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, str):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InvalidArgument(f"price {one.name!r}: expected a number of at least 0, got {value!r}")

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str = "prices") -> Prices:
        """Prices by name; those not named are the example's.

        Args:
            values: by name.
            source: where they stand, for messages.

        Raises:
            InvalidArgument: a name is no price, or a value is no number of at least 0; names it.
        """
        known = {one.name: one.default for one in fields(cls)}
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"prices: {', '.join(known)}"
                raise InvalidArgument(f"{source}: {name!r} names no price", hint=hint)
            if isinstance(known[name], str) != isinstance(value, str):
                expected = "a text" if isinstance(known[name], str) else "a number"
                raise InvalidArgument(f"{source}: {name} = {value!r}: expected {expected}")
        given = {"as_of": source, **values} if values else {}
        try:
            return cls(**given)
        except InvalidArgument as error:
            raise InvalidArgument(f"{source}: {error.message}", hint=error.hint) from error


EXAMPLE_PRICES = Prices()
"""The prices where none are given: an example."""


def load_prices(path: str | Path) -> Prices:
    """Prices of a TOML file: one `name = number` a line, and no tables.

    Raises:
        InvalidArgument: the file cannot be read, or a key is no price, or its value no number of at least 0.
    """
    import tomllib

    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            f"prices file {path}: {error}", hint="TOML, such as storage_gb_month = 0.023"
        ) from error
    return Prices.of(values, f"prices file {path}")
