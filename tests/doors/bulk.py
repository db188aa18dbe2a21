"""The client's own writer of files, without the cloud clients that its package wants besides."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import pymilvus

__all__ = ["BulkFileType", "LocalBulkWriter"]


def _writer() -> tuple[Any, Any]:
    name = "pymilvus.bulk_writer"
    before = sys.modules.get(name)
    package = types.ModuleType(name)
    package.__path__ = [str(Path(pymilvus.__file__).parent / "bulk_writer")]
    sys.modules[name] = package
    try:
        local = importlib.import_module(f"{name}.local_bulk_writer")
        constants = importlib.import_module(f"{name}.constants")
    finally:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
    return local.LocalBulkWriter, constants.BulkFileType


LocalBulkWriter, BulkFileType = _writer()
