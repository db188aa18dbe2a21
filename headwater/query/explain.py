"""What a read did, for people and for programs: segments, indexes, strategies, rows, bytes, times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headwater import trace
from headwater.trace import Step

__all__ = ["Explanation", "explain"]

_SHOWN_ITEMS = 6
_COUNTS = ("rows_read", "vectors_compared", "bytes_read", "bytes_decoded", "ranges_read")


class Explanation:
    """What the reads inside an `explain` block did; complete once the block is left.

    ``str()`` is a tree with the time of each step; `to_json` is the same as values. The words:

    - `segments`, `pruned_by_statistics`: segments looked at, and those that the filter cannot match.
    - `source` of a filter: evaluated, or kept from an earlier read; `rows_selected`: how many rows it selects.
    - `strategy` in a segment: exact, inverted lists, graph walk, inside the filter's bitmap; by which `index`, `kind`,
      at which `tier` its bytes are, and `vectors` those of the field. `elements`: how many a segment has, of a search
      for elements of struct arrays.
    - `rows_read`, `bytes_decoded`: rows and bytes of fields decoded into memory; `vectors_compared`: exact distances.
    - `bytes_read`, `ranges_read`: asked of the store. What is in memory or mapped already costs none.
    """

    def __init__(self) -> None:
        self.root = Step("explain")

    @property
    def seconds(self) -> float:
        """Wall time of the block."""
        return self.root.seconds

    @property
    def indexes(self) -> list[str]:
        """Names of the indexes used, sorted."""
        return sorted({step.details["index"] for step in self.root.walk() if "index" in step.details})

    @property
    def strategies(self) -> dict[str, str]:
        """How each segment was searched, by its id; of the last search where there were several."""
        return {
            step.details["segment"]: step.details["strategy"]
            for step in self.root.walk()
            if "segment" in step.details and "strategy" in step.details
        }

    @property
    def pruned(self) -> list[str]:
        """Ids of the segments that statistics ruled out, sorted."""
        return sorted(
            {one for step in self.root.walk() for one in step.details.get("pruned_by_statistics", ())}
        )

    def total(self, name: str) -> int:
        """A count such as `rows_read` or `bytes_read`, over all steps."""
        return self.root.total(name)

    def to_json(self) -> dict[str, Any]:
        """Totals, and the steps as a tree; values that `json.dumps` takes."""
        return {
            "seconds": self.seconds,
            "indexes": self.indexes,
            "segments_pruned": self.pruned,
            "strategies": self.strategies,
            **{name: self.total(name) for name in _COUNTS},
            "steps": [step.to_json() for step in self.root.steps],
        }

    def __str__(self) -> str:
        totals = ", ".join(
            f"{self.total(name):,} {name.replace('_', ' ')}" for name in _COUNTS if self.total(name)
        )
        head = f"{self.seconds * 1000:.3f} ms" + (f"; {totals}" if totals else "")
        return "\n".join([head, *(line for step in self.root.steps for line in _lines(step, ""))])

    __repr__ = __str__


def _lines(step: Step, indent: str) -> Iterator[str]:
    details = ", ".join(f"{name} {_shown(value)}" for name, value in step.details.items())
    yield f"{indent}{step.seconds * 1000:9.3f} ms  {step.name}{f'  ({details})' if details else ''}"
    for inner in step.steps:
        yield from _lines(inner, indent + "  ")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        more = f", and {len(value) - _SHOWN_ITEMS} more" if len(value) > _SHOWN_ITEMS else ""
        return f"[{', '.join(map(str, value[:_SHOWN_ITEMS]))}{more}]"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@contextmanager
def explain() -> Iterator[Explanation]:
    """Record what every read inside the block does, in this thread and those it hands work to.

    The reads run as they always do, so what is measured is what happens; recording itself costs microseconds a step.

        with hw.explain() as what:
            docs.search([q], filter="year >= 2020")
        print(what)
    """
    explanation = Explanation()
    with trace.record("explain") as root:
        explanation.root = root
        yield explanation
