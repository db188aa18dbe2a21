"""What holds for all tests."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests begin first, so that no core waits for one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("soak") is None)
