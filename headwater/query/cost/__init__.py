"""What a collection costs: bytes, requests, memory and money, computed from a description of it.

Pure functions over values: nothing here asks a store. `Shape` says what a collection is, `sizes` how many bytes that
takes, `reads` what a query asks of the store at each tier, `bill` what a month of it costs by a list of prices. The
constants are calibrated against real collections, and tests compare them again.
"""

from headwater.query.cost.bill import (
    Bill,
    Case,
    Crossing,
    Workload,
    bill,
    bills,
    break_evens,
    cheapest,
)
from headwater.query.cost.prices import EXAMPLE_PRICES, Prices, load_prices
from headwater.query.cost.reads import Machine, Reads, cpu_s, latency_s, reads
from headwater.query.cost.report import CostReport, QueryReads, advice
from headwater.query.cost.shape import Shape, Sizes, build_core_s, default_lists, sizes

__all__ = [
    "EXAMPLE_PRICES",
    "Bill",
    "Case",
    "CostReport",
    "Crossing",
    "Machine",
    "Prices",
    "QueryReads",
    "Reads",
    "Shape",
    "Sizes",
    "Workload",
    "advice",
    "bill",
    "bills",
    "break_evens",
    "build_core_s",
    "cheapest",
    "cpu_s",
    "default_lists",
    "latency_s",
    "load_prices",
    "reads",
    "sizes",
]
