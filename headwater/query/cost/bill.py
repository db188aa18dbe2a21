"""What a month costs by a list of prices, and where one policy becomes cheaper than another."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

from headwater.errors import InvalidArgument
from headwater.query.cost.prices import EXAMPLE_PRICES, Prices
from headwater.query.cost.reads import Machine, Reads, cpu_s, latency_s, reads
from headwater.query.cost.shape import Shape, Sizes, sizes
from headwater.tiers import TierPolicy

__all__ = ["Bill", "Case", "Crossing", "Workload", "bill", "bills", "break_evens", "cheapest"]

GB = 1e9
MONTH_H = 730.0
MONTH_S = MONTH_H * 3600

_WARM_LISTS = 0.25
"""Share of the lists that the page cache holds of a warm index that answers at a steady speed."""

_STALENESS_S = 5.0
_LOOKS = 2
"""A query that comes so long after the last look for a newer version makes these requests."""

_LEAST_QPS, _MOST_QPS = 1e-6, 1e5
_STEPS = 220
_HALVINGS = 40


@dataclass(frozen=True)
class Workload:
    """What is asked of a collection, and of what machines.

    Attributes:
        queries_per_second: on average over a month.
        hit_share: of what queries read, the share that policy `auto` finds near.
        near_share: of the collection's bytes, the share that `auto` keeps near for that.
        commits_per_day: each is read by every process, and written once.
        replicas: processes that hold the collection.
        process_bytes: memory of one before it holds anything.
        least_cores: that a process which stays is paid for.
    """

    queries_per_second: float = 1.0
    hit_share: float = 0.8
    near_share: float = 0.2
    commits_per_day: float = 24.0
    replicas: int = 1
    process_bytes: int = 150_000_000
    least_cores: float = 1.0

    def __post_init__(self) -> None:
        for name in ("hit_share", "near_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InvalidArgument(f"{name}: expected a share from 0 to 1, got {getattr(self, name)!r}")
        for name in ("queries_per_second", "commits_per_day", "process_bytes", "least_cores"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise InvalidArgument(f"{name}: expected a number of at least 0, got {getattr(self, name)!r}")
        if self.replicas < 1:
            raise InvalidArgument(f"replicas: expected at least 1, got {self.replicas!r}")


@dataclass(frozen=True)
class Bill:
    """A month at one policy.

    Attributes:
        policy: which.
        parts: money by what it is for: storage, requests, transfer, memory, ssd, cores.
        asked: of the store by a query.
        memory_bytes: held by each replica.
        ssd_bytes: held by each replica.
        cores: paid for, on average.
        latency_s: that a query takes, nothing waiting before it.
    """

    policy: TierPolicy
    parts: Mapping[str, float]
    asked: Reads
    memory_bytes: float
    ssd_bytes: float
    cores: float
    latency_s: float

    @property
    def total(self) -> float:
        """The sum of its parts."""
        return sum(self.parts.values())

    def to_dict(self) -> dict[str, object]:
        """As plain values, with the total."""
        return {**asdict(self), "policy": self.policy.value, "parts": dict(self.parts), "total": self.total}


@dataclass(frozen=True)
class Crossing:
    """Where the cheapest policy changes.

    Attributes:
        below: cheapest with fewer queries.
        above: cheapest with more.
        queries_per_second: where.
    """

    below: TierPolicy
    above: TierPolicy
    queries_per_second: float


@dataclass(frozen=True)
class Case:
    """A collection and what is known about it, whatever is asked of it and at whatever policy.

    Attributes:
        shape: the collection.
        prices: of the user.
        machine: where queries run.
        stored: its bytes as they are; None for as modelled.
        measured: what a query asks of the store, by policy, where it was measured.
    """

    shape: Shape
    prices: Prices = EXAMPLE_PRICES
    machine: Machine = field(default_factory=Machine)
    stored: Sizes | None = None
    measured: Mapping[TierPolicy, Reads] = field(default_factory=dict)

    @cached_property
    def sizes(self) -> Sizes:
        """Its bytes, as they are or as modelled."""
        return self.stored or sizes(self.shape)


def _per_query(case: Case, policy: TierPolicy, workload: Workload) -> Reads:
    """What a query asks of the store on average, as measured or modelled; of `auto`, what it does not find near."""
    if policy is TierPolicy.AUTO:
        cold = case.measured.get(TierPolicy.COLD) or reads(case.shape, TierPolicy.COLD)
        share = 1.0 - workload.hit_share
        return Reads(cold.requests * share, cold.size_bytes * share, cold.round_trips * share)
    return case.measured.get(policy) or reads(case.shape, policy)


def _held(case: Case, policy: TierPolicy, workload: Workload) -> tuple[float, float]:
    """Bytes of memory and of disk that a replica holds."""
    known = case.sizes
    here = workload.process_bytes + known.opened + known.manifest
    data = known.data
    if policy is TierPolicy.HOT:
        return workload.process_bytes + known.manifest + data, 0.0
    if policy is TierPolicy.WARM:
        return here + _WARM_LISTS * known.lists, data
    if policy is TierPolicy.AUTO:
        return here + _WARM_LISTS * known.lists * workload.near_share, data * workload.near_share
    return here + known.scalars, 0.0


def bill(case: Case, policy: TierPolicy, workload: Workload) -> Bill:
    """A month at one policy.

    Args:
        case: the collection.
        policy: where its bytes are.
        workload: what is asked of it.
    """
    prices, machine = case.prices, case.machine
    asked = _per_query(case, policy, workload)
    rate = workload.queries_per_second
    memory, ssd = _held(case, policy, workload)
    busy = rate * cpu_s(case.shape, asked)
    if policy is TierPolicy.ON_DEMAND:
        # Paid from the start of a process to its answer; more than one may run at a time.
        waits = asked.round_trips * machine.round_trip_s + asked.size_bytes / machine.bandwidth_bytes_s
        running = rate * (machine.start_s + waits) + busy
        cores, processes = running, running
        reading = 0.0
    else:
        cores = max(workload.least_cores * workload.replicas, busy)
        processes = float(workload.replicas)
        reading = workload.commits_per_day * workload.replicas * 730 / 24
        reading += min(rate, workload.replicas / _STALENESS_S) * MONTH_S * _LOOKS
    loads = ssd if policy is TierPolicy.WARM else memory if policy is TierPolicy.HOT else 0.0
    requests = asked.requests * rate * MONTH_S + reading
    read = workload.commits_per_day * workload.replicas * 730 / 24 * case.sizes.manifest_read_on_commit
    sent = asked.size_bytes * rate * MONTH_S + (0.0 if policy is TierPolicy.ON_DEMAND else read)
    sent += loads * workload.replicas
    parts = {
        "storage": case.sizes.total / GB * prices.storage_gb_month,
        "requests": requests / 1000 * prices.get_per_1000
        + workload.commits_per_day * 730 / 24 * 3 / 1000 * prices.put_per_1000,
        "transfer": sent / GB * prices.egress_gb,
        "memory": memory / GB * processes * MONTH_H * prices.memory_gb_hour,
        "ssd": ssd / GB * processes * prices.ssd_gb_month,
        "cores": cores * MONTH_H * prices.core_hour,
    }
    waited = latency_s(case.shape, policy, machine, asked)
    return Bill(policy, parts, asked, memory, ssd, cores, waited)


def bills(case: Case, workload: Workload, policies: Sequence[TierPolicy] = tuple(TierPolicy)) -> list[Bill]:
    """`bill` at each of several policies, in the order given."""
    return [bill(case, policy, workload) for policy in policies]


def cheapest(found: Sequence[Bill]) -> Bill:
    """The bill with the least total; of equal ones the first."""
    return min(found, key=lambda one: one.total)


def break_evens(
    case: Case, workload: Workload, policies: Sequence[TierPolicy] = tuple(TierPolicy)
) -> list[Crossing]:
    """Rates of queries at which the cheapest policy changes, ascending; from one in ten days to 100,000 a second."""

    def best(rate: float) -> TierPolicy:
        asked = replace(workload, queries_per_second=rate)
        return cheapest(bills(case, asked, policies)).policy

    ratio = (_MOST_QPS / _LEAST_QPS) ** (1 / _STEPS)
    rates = [_LEAST_QPS * ratio**step for step in range(_STEPS + 1)]
    found, last = [], best(rates[0])
    for low, high in itertools.pairwise(rates):
        now = best(high)
        if now is last:
            continue
        for _ in range(_HALVINGS):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if best(middle) is last else (low, middle)
        found.append(Crossing(last, now, high))
        last = now
    return found
