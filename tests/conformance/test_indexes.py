"""Every index kind keeps the promises of `IndexTests`."""

from headwater.testing.index import IndexTests
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
