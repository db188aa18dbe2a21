"""What a collection costs, as one value: for programs, and for the tables of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from headwater.query.cost.bill import Bill, Crossing, Workload, cheapest
from headwater.query.cost.prices import Prices
from headwater.query.cost.reads import Machine, Reads
from headwater.query.cost.shape import Shape
from headwater.tiers import TierPolicy

__all__ = ["CostReport", "QueryReads", "advice"]

_WORDS = {
    TierPolicy.AUTO: "auto",
    TierPolicy.HOT: "hot",
    TierPolicy.WARM: "warm",
    TierPolicy.COLD: "cold",
    TierPolicy.ON_DEMAND: "on demand",
}


@dataclass(frozen=True)
class QueryReads:
    """What a query asks of the store in one case.

    Attributes:
        case: `cold, first`, `cold`, `warm`, `hot`, `on demand`.
        reads: requests, bytes, round trips.
        source: where the numbers come from.
    """

    case: str
    reads: Reads
    source: Literal["measured", "modelled"]


@dataclass(frozen=True)
class CostReport:
    """What a collection costs.

    Attributes:
        collection: its name.
        version: that was looked at.
        policy: that it has now.
        shape: what the model computes with.
        stored: bytes in the store by kind.
        objects: files in the store.
        external_bytes: of files that others own, which are not in `stored`.
        held: bytes that this process holds, by what they are.
        seen: hits and misses of this process's caches since it began, of all its collections.
        queries: what a query asks of the store, by case.
        bills: a month at each policy, for the workload.
        break_evens: where the cheapest policy changes as queries become more.
        workload: what was assumed to be asked.
        prices: that were used.
        machine: what latencies were computed with.
        probed: whether the store and some queries were measured for this report.
        advice: what follows, in a sentence or three.
    """

    collection: str
    version: int
    policy: TierPolicy
    shape: Shape
    stored: Mapping[str, int]
    objects: int
    external_bytes: int
    held: Mapping[str, int]
    seen: Mapping[str, int]
    queries: tuple[QueryReads, ...]
    bills: tuple[Bill, ...]
    break_evens: tuple[Crossing, ...]
    workload: Workload
    prices: Prices
    machine: Machine
    probed: bool
    advice: str

    @property
    def stored_bytes(self) -> int:
        """All that is in the store."""
        return sum(self.stored.values())

    def bill(self, policy: TierPolicy | str) -> Bill:
        """The month at one of the policies that were asked for."""
        return next(one for one in self.bills if one.policy == TierPolicy(policy))

    def __str__(self) -> str:
        """What is stored, a line for each policy, and what follows."""
        money = self.prices.currency
        lines = [
            f"{self.collection}, version {self.version}: {self.shape.rows:,} rows, "
            f"{self.stored_bytes / 1e6:,.3g} MB in {self.objects:,} objects",
            f"{'policy':<12}{f'{money} a month':>14}{'ms a query':>12}{'MB memory':>11}{'MB disk':>9}",
        ]
        for one in self.bills:
            name = f"{_WORDS[one.policy]}{' *' if one.policy is self.policy else ''}"
            lines.append(
                f"{name:<12}{one.total:>14,.2f}{one.latency_s * 1e3:>12,.3g}"
                f"{one.memory_bytes / 1e6:>11,.4g}{one.ssd_bytes / 1e6:>9,.4g}"
            )
        return "\n".join([*lines, f"* is the policy now. {self.advice}"])

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """As values that `json.dumps` takes."""
        return {
            **asdict(self),
            "stored_bytes": self.stored_bytes,
            "bills": [one.to_dict() for one in self.bills],
            "break_evens": [
                {
                    "below": one.below.value,
                    "above": one.above.value,
                    "queries_per_second": one.queries_per_second,
                }
                for one in self.break_evens
            ],
        }


def rate_text(queries_per_second: float) -> str:
    """A rate of queries as people say it."""
    for unit, seconds in (("a second", 1.0), ("a minute", 60.0), ("an hour", 3600.0), ("a day", 86_400.0)):
        if queries_per_second * seconds >= 1.0:
            number = _round(queries_per_second * seconds)
            return f"{number} quer{'y' if number == '1' else 'ies'} {unit}"
    return f"{_round(queries_per_second * 86_400 * 30)} queries a month"


def _round(value: float) -> str:
    """Two figures of a number."""
    return f"{value:.2g}" if value < 10 else f"{float(f'{value:.2g}'):,.0f}"


def advice(bills: Sequence[Bill], crossings: Sequence[Crossing], workload: Workload, currency: str) -> str:
    """What follows from the bills and from where they cross."""
    best = cheapest(bills)
    said = [
        f"At {rate_text(workload.queries_per_second)} {_WORDS[best.policy]} is cheapest: "
        f"{best.total:,.2f} {currency} a month, about {best.latency_s * 1000:,.3g} ms a query."
    ]
    said += [
        f"Under {rate_text(one.queries_per_second)} {_WORDS[one.below]} is cheaper than {_WORDS[one.above]}."
        for one in crossings
    ]
    faster = [one for one in bills if one.latency_s < best.latency_s / 2]
    if faster:
        near = cheapest(faster)
        said.append(
            f"{_WORDS[near.policy].capitalize()} answers {_round(best.latency_s / near.latency_s)} times sooner for "
            f"{near.total - best.total:,.2f} {currency} a month more."
        )
    return " ".join(said)
