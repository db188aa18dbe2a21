"""What the methods that change a collection's metadata share: the place that is meant, and the race for the commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headwater.errors import CommitConflict, IndexNotFound, InvalidArgument
from headwater.lake import Change, IndexSpec, Lake, Manifest

__all__ = ["change_newest", "check_one_place", "index_named"]

_ATTEMPTS = 100


def change_newest(
    lake: Lake, changes_of: Callable[[Manifest], Sequence[Change]], *, operation: str
) -> Manifest:
    """Commit what follows from the newest version; worked out anew where it changed meanwhile in a way that matters.

    Args:
        lake: the collection's folder.
        changes_of: the changes to a version; none where it is as wanted.
        operation: what this does, for `history`.

    Returns:
        The version that holds them; the newest one where nothing was to change.

    Raises:
        CommitConflict: a hundred others were first.
    """
    for _ in range(_ATTEMPTS):
        base = lake.latest()
        changes = changes_of(base)
        if not changes:
            return base
        try:
            return lake.commit(base, changes, operation=operation)
        except CommitConflict as error:
            conflict = error
    raise conflict


def check_one_place(method: str, field: str | None, index: str | None) -> None:
    """Check that a field or an index is named, or neither, which stands for the whole collection.

    Raises:
        InvalidArgument: both are.
    """
    if field is not None and index is not None:
        raise InvalidArgument(
            f"{method} takes a field or an index, got field={field!r} and index={index!r}",
            hint="call it once for each",
        )


def index_named(manifest: Manifest, collection: str, name: str) -> IndexSpec:
    """An index of a version.

    Raises:
        IndexNotFound: there is none of that name; names those that there are.
    """
    for spec in manifest.indexes:
        if spec.name == name:
            return spec
    there = ", ".join(spec.name for spec in manifest.indexes) or "none"
    raise IndexNotFound(f"collection {collection!r} has no index {name!r}", hint=f"indexes: {there}")
