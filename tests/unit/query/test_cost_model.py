"""The cost model: sums that can be done by hand, and parts that have an oracle of their own."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headwater.errors import InvalidArgument
from headwater.lake import ColumnGroup, FieldStats, FileRef, IndexBuild, IndexSpec, Manifest, Segment
from headwater.lake.manifest_json import ManifestEncoder
from headwater.query.cost import (
    Case,
    Machine,
    Prices,
    Reads,
    Shape,
    Workload,
    advice,
    bill,
    bills,
    break_evens,
    build_core_s,
    cheapest,
    load_prices,
    reads,
    sizes,
)
from headwater.query.cost.reads import spread
from headwater.query.cost.report import rate_text
from headwater.schema import FloatVector, Int32, Int64, Schema, String
from headwater.store.ranges import store_runs
from headwater.tiers import TierPolicy
from headwater.types import ByteRange

PRICES = Prices(
    storage_gb_month=0.02,
    get_per_1000=0.0004,
    put_per_1000=0.005,
    egress_gb=0.09,
    memory_gb_hour=0.005,
    ssd_gb_month=0.1,
    core_hour=0.04,
)


@pytest.mark.parametrize(
    ("count", "row_bytes", "rows"), [(40, 256, 20_000), (100, 3072, 100_000), (100, 1024, 2_000)]
)
def test_ranges_at_random_places_become_as_many_requests_as_the_model_says(
    count: int, row_bytes: int, rows: int
) -> None:
    rng = np.random.default_rng(1)
    made, sent = [], []
    for _ in range(60):
        starts = np.sort(rng.choice(rows, count, replace=False)) * row_bytes
        runs = store_runs([ByteRange(int(one), int(one) + row_bytes) for one in starts])
        made.append(len(runs))
        sent.append(sum(run.span.size_bytes for run in runs))
    requests, size_bytes = spread(count, row_bytes, rows * row_bytes)
    assert requests == pytest.approx(np.mean(made), rel=0.06, abs=0.3)
    assert size_bytes == pytest.approx(np.mean(sent), rel=0.06)


def manifest_of(segments: int) -> Manifest:
    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def file(folder: str, name: str, size: int) -> FileRef:
        checksum = f"crc32:{digest(name + 'c')[:8]}"
        return FileRef(f"default/docs/{folder}/{digest(name)}", size, checksum)

    schema = Schema.of(
        {"id": Int64, "year": Int32, "text": String, "embedding": FloatVector(768)}, primary_key="id"
    )
    made, builds = [], []
    for number in range(segments):
        name = digest(f"segment {number}")
        groups = tuple(
            ColumnGroup(
                kind, ids, file(f"segments/{name}", f"{number} {kind} {ids}", 1_000_000 + number * 37)
            )
            for kind, ids in (("vortex", (1, 2)), ("arrow_ipc", (3,)), ("arrow_ipc", (4,)))
        )
        first = number * 1_000_000
        stats = {1: FieldStats(first, first + 999_999, 0), 2: FieldStats(1900, 2000 + number % 20, 0)}
        made.append(Segment(name, 1_000_000, ((first, 1_000_000),), groups, stats))
        builds.append(
            IndexBuild(
                "embedding",
                name,
                file(f"indexes/{name}/{digest(str(number))}", f"i{number}", 150_000_000),
                10**6,
            )
        )
    return Manifest(
        version=7,
        commit_id=digest("commit"),
        created_ms=1,
        schema=schema,
        segments=tuple(made),
        indexes=(IndexSpec("embedding", 4, "ivf_rabitq", "COSINE"),),
        builds=tuple(builds),
    )


@pytest.mark.parametrize("segments", [1, 40, 1000])
def test_a_manifest_is_as_large_as_the_model_says(segments: int) -> None:
    stored = len(ManifestEncoder().encode(manifest_of(segments)))
    shape = Shape(segments * 1_000_000, segments=segments, text_row_bytes=80)
    # The head of a real one has properties and a log besides.
    assert sizes(shape).manifest == pytest.approx(stored, rel=0.05, abs=250)


def test_a_directory_of_two_levels_is_read_in_part() -> None:
    shape = Shape.of_rows(10**11)
    whole, paged = sizes(shape), sizes(replace(shape, page_segments=1000))
    assert paged.manifest < whole.manifest / 100
    assert paged.manifest_read_on_commit < whole.manifest_read_on_commit / 50


def test_what_is_near_asks_nothing_and_what_is_cold_asks_once_for_vectors() -> None:
    one, ten = Shape.of_rows(10**6), Shape.of_rows(10**7)
    assert reads(ten, TierPolicy.HOT) == reads(ten, TierPolicy.WARM) == Reads(0.0, 0.0, 0.0)
    vectors = 45
    lists = reads(one, TierPolicy.COLD).requests - vectors
    assert reads(ten, TierPolicy.COLD).requests == pytest.approx(10 * lists + vectors, rel=0.1)
    assert (
        reads(replace(ten, probed_segments=1), TierPolicy.COLD).requests
        < 1.1 * reads(one, TierPolicy.COLD).requests
    )
    assert reads(one, TierPolicy.COLD, first=True).requests > reads(one, TierPolicy.COLD).requests
    assert reads(one, TierPolicy.COLD, hit_share=1.0).requests == 0.0


def test_without_an_index_every_vector_is_read() -> None:
    shape = Shape.of_rows(10**6, kind="")
    assert reads(shape, TierPolicy.COLD).size_bytes >= sizes(shape).vectors * 0.99
    assert build_core_s(shape) == 0.0


def test_a_month_is_the_sum_that_can_be_done_by_hand() -> None:
    shape = Shape.of_rows(10**6)
    asked = Reads(100.0, 1e6, 3.0)
    load = Workload(queries_per_second=10.0, commits_per_day=0.0, process_bytes=0, least_cores=2.0)
    case = Case(shape, PRICES, measured={TierPolicy.COLD: asked})
    found = bill(case, TierPolicy.COLD, load)
    seconds = 730 * 3600
    assert found.parts["storage"] == pytest.approx(sizes(shape).total / 1e9 * 0.02)
    # Every five seconds two requests ask for a newer version.
    assert found.parts["requests"] == pytest.approx((10 * seconds * 100 + seconds / 5 * 2) / 1000 * 0.0004)
    assert found.parts["transfer"] == pytest.approx(10 * seconds * 1e6 / 1e9 * 0.09)
    assert found.parts["memory"] == pytest.approx(found.memory_bytes / 1e9 * 730 * 0.005)
    assert found.parts["cores"] == pytest.approx(2 * 730 * 0.04)
    assert found.parts["ssd"] == 0.0
    assert found.total == pytest.approx(sum(found.parts.values()))
    there = bill(replace(case, machine=Machine(round_trip_s=1.0)), TierPolicy.COLD, load)
    assert there.latency_s - found.latency_s == pytest.approx(3 * (1.0 - 0.03))


def test_two_replicas_cost_twice_what_they_hold() -> None:
    case, load = Case(Shape.of_rows(10**7), PRICES), Workload(0.1)
    once = bill(case, TierPolicy.WARM, load)
    twice = bill(case, TierPolicy.WARM, replace(load, replicas=2))
    for part in ("memory", "ssd", "cores"):
        assert twice.parts[part] == pytest.approx(2 * once.parts[part])
    assert twice.parts["storage"] == once.parts["storage"]


def test_the_policies_cost_the_same_where_they_cross() -> None:
    case, load = Case(Shape.of_rows(10**8), PRICES), Workload()
    crossings = break_evens(case, load)
    assert crossings
    assert [one.queries_per_second for one in crossings] == sorted(
        one.queries_per_second for one in crossings
    )
    for one in crossings:
        there = replace(load, queries_per_second=one.queries_per_second)
        below, above = (bill(case, policy, there) for policy in (one.below, one.above))
        assert below.total == pytest.approx(above.total, rel=1e-6)
        for factor, best in ((0.99, one.below), (1.01, one.above)):
            near = replace(load, queries_per_second=one.queries_per_second * factor)
            assert cheapest(bills(case, near)).policy is best


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("get_per_1001 = 0.1", "get_per_1000"),
        ("core_hour = -1", "core_hour"),
        ("core_hour = 'dear'", "core_hour"),
        ("core_hour = true", "core_hour"),
        ("currency = 3", "currency"),
        ("memory_gb_hour = inf", "memory_gb_hour"),
        ("[aws]\nget = 1", "aws"),
        ("core_hour =", "prices.toml"),
    ],
)
def test_a_price_that_is_none_is_refused_by_name(line: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(line)
    with pytest.raises(InvalidArgument) as caught:
        load_prices(path)
    assert named in f"{caught.value.message} {caught.value.hint}"
    assert str(path) in caught.value.message


def test_prices_of_a_file_stand_beside_the_example(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('core_hour = 1\ncurrency = "CHF"\n')
    found = load_prices(path)
    assert (found.core_hour, found.currency, found.get_per_1000) == (1, "CHF", Prices().get_per_1000)
    with pytest.raises(InvalidArgument, match="nowhere"):
        load_prices(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("wrong", [{"hit_share": 1.5}, {"queries_per_second": -1.0}, {"replicas": 0}])
def test_a_workload_that_cannot_be_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        Workload(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (3.14, "3.1 queries a second"),
        (250.0, "250 queries a second"),
        (0.3, "18 queries a minute"),
        (1 / 3600, "1 query an hour"),
        (2 / 86_400, "2 queries a day"),
        (1 / 864_000, "3 queries a month"),
    ],
)
def test_rates_are_told_in_the_unit_that_fits(rate: float, said: str) -> None:
    assert rate_text(rate) == said


def test_advice_names_the_cheapest_its_limits_and_what_is_faster() -> None:
    case, load = Case(Shape.of_rows(10**6), PRICES), Workload(0.001)
    found, crossings = bills(case, load), break_evens(case, load)
    said = advice(found, crossings, load, "EUR")
    assert said.startswith("At 3.6 queries an hour on demand is cheapest")
    assert f"Under {rate_text(crossings[0].queries_per_second)} on demand is cheaper than" in said
    assert "times sooner for" in said
