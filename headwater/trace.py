"""What a call did, step by step, for whoever asked: the base of `explain`.

A step is recorded only inside `record`; elsewhere `step`, `note` and `count` cost one look at a context variable. Steps
nest as calls do. Work handed to another thread keeps its place in the tree when it is handed over by `carried`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Step", "carried", "count", "explaining", "note", "record", "recording", "step"]

T = TypeVar("T")


@dataclass(eq=False)
class Step:
    """One step and the steps inside it.

    Attributes:
        name: what was done.
        details: what is worth knowing about it; counts are sums over the step itself, not over the steps inside.
        steps: the steps inside, in the order they began.
        seconds: wall time.
        began: `time.perf_counter()` when it began.
        explained: whether somebody is going to read it; else it is counted among many, and a short way that has less to
            tell is as good as a long one.
    """

    name: str
    details: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0
    began: float = 0.0
    explained: bool = True

    def total(self, name: str) -> int:
        """A count, summed over this step and all steps inside."""
        return int(self.details.get(name, 0)) + sum(inner.total(name) for inner in self.steps)

    def walk(self) -> Iterator[Step]:
        """This step and all steps inside, depth first."""
        yield self
        for inner in self.steps:
            yield from inner.walk()

    def to_json(self) -> dict[str, Any]:
        """The tree as plain values: `name`, `seconds`, the details, and `steps`."""
        out: dict[str, Any] = {"name": self.name, "seconds": self.seconds, **self.details}
        if self.steps:
            out["steps"] = [inner.to_json() for inner in self.steps]
        return out


_current: ContextVar[Step | None] = ContextVar("headwater_step", default=None)
_nothing: AbstractContextManager[None] = nullcontext()


def recording() -> bool:
    """Whether steps are recorded here; ask before computing a detail that costs something."""
    return _current.get() is not None


def explaining() -> bool:
    """Whether somebody is going to read the steps that are recorded here."""
    current = _current.get()
    return current is not None and current.explained


def step(name: str, **details: Any) -> AbstractContextManager[Any]:
    """A step around a block of code."""
    parent = _current.get()
    return _nothing if parent is None else _Within(parent, Step(name, details, explained=parent.explained))


class _Within:
    """Makes a step the current one; written out, as a generator takes three times as long."""

    __slots__ = ("_inner", "_parent", "_token")

    def __init__(self, parent: Step | None, inner: Step) -> None:
        self._parent = parent
        self._inner = inner

    def __enter__(self) -> Step:
        if self._parent is not None:
            self._parent.steps.append(self._inner)
        self._token = _current.set(self._inner)
        self._inner.began = time.perf_counter()
        return self._inner

    def __exit__(self, *raised: object) -> None:
        self._inner.seconds = time.perf_counter() - self._inner.began
        _current.reset(self._token)


def record(name: str, *, explained: bool = True) -> AbstractContextManager[Step]:
    """Record the steps of a block of code; inside another recording, as a step of it.

    Args:
        name: of the block.
        explained: whether somebody is going to read them.
    """
    return _Within(_current.get(), Step(name, explained=explained))


def note(**details: Any) -> None:
    """Say something about the step that is going on; the last word counts."""
    current = _current.get()
    if current is not None:
        current.details.update(details)


def count(**numbers: int) -> None:
    """Add to counts of the step that is going on."""
    current = _current.get()
    if current is not None:
        for name, number in numbers.items():
            current.details[name] = current.details.get(name, 0) + number


def carried(function: Callable[..., T]) -> Callable[..., T]:
    """A function that another thread may run as part of the step that is going on here."""
    if _current.get() is None:
        return function
    context = copy_context()
    return lambda *args: context.run(function, *args)
