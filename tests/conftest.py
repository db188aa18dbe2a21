"""What holds for all tests."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What remote stores' objects are cached in is of this run, and not the user's."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


_EXIT_S = 120.0


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """What a test left behind, a thread that waits for ever, say, must not keep a process that has nothing to do."""
    faulthandler.dump_traceback_later(_EXIT_S, exit=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests begin first, so that no core waits for one at the end: the soak, then what is slow."""

    def place(item: pytest.Item) -> tuple[bool, bool]:
        return item.get_closest_marker("soak") is None, item.get_closest_marker("slow") is None

    items.sort(key=place)
