"""A decoded field takes what it holds, and not what decoding it took besides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from own_memory import NEEDS_PROC, grown_mib

import headwater as hw

ROWS, TEXT = 500_000, 100

DECODE = """
db = hw.connect(sys.argv[1], settings=hw.Settings())
small, large = db.collection("small"), db.collection("large")
small.set_tier("hot")
large.set_tier("hot")
small.warm_up()
before = own_mib()
with watched():
    large.warm_up()
print(own_mib() - before)
"""

pytestmark = NEEDS_PROC


def test_what_decoding_frees_goes_back_to_the_system(tmp_path: Path) -> None:
    with hw.connect(tmp_path) as db:
        for name, n in (("small", 1_000), ("large", ROWS)):
            made = db.create_collection(
                name, {"id": hw.Int64, "text": hw.String, "v": hw.FloatVector(2)}, "id"
            )
            texts = [f"{number:08d}" * (TEXT // 8) for number in range(n)]
            made.insert({"id": np.arange(n), "text": texts, "v": np.zeros((n, 2), np.float32)})
            made.flush()
    held_mib = ROWS * (TEXT + 8 + 8 + 8) >> 20
    most, left = grown_mib(DECODE, str(tmp_path))
    assert left < held_mib * 1.3 + 5, most
