"""Folders for files on their way to a store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["scratch_folder"]


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A folder of one's own, gone at the end.

    Unlike `tempfile.TemporaryDirectory` it is not removed by an exiting interpreter while a background thread still
    writes to it.

    Args:
        purpose: a word for its name.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"headwater-{purpose}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
