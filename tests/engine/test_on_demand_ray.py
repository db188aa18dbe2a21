"""Reads that are computed by actors of a Ray cluster; `make test-ray` installs Ray and runs this."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater import errors
from headwater.engine import Database
from headwater.extras import load_extra

pytestmark = [
    pytest.mark.ray,
    # What Ray's own code does on its way out is not ours.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
    ),
]
ROWS = 100_000


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    ray = load_extra("ray", "ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    db = hw.connect(tmp_path_factory.mktemp("ray") / "lake")
    docs = db.create_collection("docs", {"id": hw.Int64, "vector": hw.FloatVector(16)}, "id")
    block = np.random.default_rng(1).standard_normal((ROWS, 16)).astype(np.float32)
    docs.insert(pa.table({"id": range(ROWS), "vector": pa.FixedSizeListArray.from_arrays(block.ravel(), 16)}))
    docs.flush()
    yield db
    db.close()
    ray.shutdown()


def test_an_actor_answers_as_the_process_itself(db: Database) -> None:
    docs = db.collection("docs")
    queries = docs.to_arrow(["vector"], "id < 3").column("vector").to_pylist()
    with db.on_demand(executor="ray", max_workers=1, timeout_s=120) as away:
        found = away.search("docs", queries, top_k=5, output_fields=["id"])
        assert list(found) == list(docs.search(queries, top_k=5, output_fields=["id"]))
        begun = away.scan("docs", ["id"])
        assert next(begun).num_rows
        begun.close()
        assert sum(batch.num_rows for batch in away.scan("docs", ["id"])) == ROWS
        with pytest.raises(errors.FilterSyntax, match="colour") as bad:
            away.query("docs", "colour == 1")
        assert bad.value.details["position"] == 0


def test_actors_are_bounded_and_one_that_dies_is_named(db: Database) -> None:
    with pytest.raises(errors.Timeout, match="no answer within"):
        db.on_demand(executor="ray", timeout_s=0.2).count("docs")
    with pytest.raises(errors.QuotaExceeded, match="are allowed"):
        db.on_demand(executor="ray", memory_bytes=20_000_000).collection("docs").to_arrow()
    away = db.on_demand(executor="ray")
    begun = away.scan("docs")
    next(begun)
    away.close()
    with pytest.raises(errors.WorkerLost):
        list(begun)
