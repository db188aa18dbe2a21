"""What one handle does, and right before it is stored, what another does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["come_between"]


@contextmanager
def come_between(store: Any, work: Callable[[], None], later: int) -> Iterator[list[Callable[[], None]]]:
    """Do some work right before a store creates an object.

    Args:
        store: whose `create` is watched.
        work: what comes between.
        later: creations that come before it.

    Yields:
        The work, as long as it has not come.
    """
    pending, left, create = [work], [later], store.create

    def after_the_other(key: str, content: Any) -> None:
        if left[0] == 0 and pending:
            pending.pop()()
        left[0] -= 1
        create(key, content)

    store.create = after_the_other
    try:
        yield pending
    finally:
        del store.create
