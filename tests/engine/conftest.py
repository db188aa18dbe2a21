"""What tests of the engine share."""

from __future__ import annotations

from pathlib import Path

import pytest

import headwater as hw


@pytest.fixture
def db(tmp_path: Path) -> hw.Database:
    """A new lake in a folder."""
    return hw.connect(tmp_path / "lake")
