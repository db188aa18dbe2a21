"""Every index kind keeps the promises of `IndexTests`."""

import numpy as np

from headwater.testing.index import IndexTests, Vectors
from headwater.types import MetricType


class TestFlat(IndexTests):
    kind = "flat"
    least_recall = 1.0


class TestIvfFlat(IndexTests):
    kind = "ivf_flat"


class TestIvfSq8(IndexTests):
    kind = "ivf_sq8"


class TestIvfPq(IndexTests):
    kind = "ivf_pq"


class TestIvfRabitq(IndexTests):
    kind = "ivf_rabitq"


class TestHnsw(IndexTests):
    kind = "hnsw"


class TestHnswSq(IndexTests):
    kind = "hnsw_sq"


class TestBinFlat(IndexTests):
    kind = "bin_flat"
    metrics = (MetricType.HAMMING, MetricType.JACCARD)
    binary = True
    least_recall = 1.0


class TestBinIvfFlat(IndexTests):
    kind = "bin_ivf_flat"
    metrics = (MetricType.HAMMING, MetricType.JACCARD)
    binary = True


class TestMinHashLsh(IndexTests):
    kind = "minhash_lsh"
    metrics = (MetricType.MHJACCARD,)
    binary = True
    cold_rounds = 2

    def vectors(self, n: int, dim: int = 512, seed: int = 0) -> Vectors:
        """Signatures of 16 hashes around 300 centres, a tenth of them others."""
        rng = np.random.default_rng(seed)
        centres = rng.integers(0, 1 << 32, (300, 16), np.uint32)
        other = rng.random((n, 16)) < 0.1
        made = np.where(other, rng.integers(0, 1 << 32, (n, 16), np.uint32), centres[rng.integers(0, 300, n)])
        return made.astype("<u4").view(np.uint8)
