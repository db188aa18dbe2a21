import pytest

from headwater.formats import arrow_ipc
from headwater.testing.formats import FormatTests


class TestArrowIpc(FormatTests):
    @pytest.fixture
    def format_name(self):
        return "arrow_ipc"


class TestArrowIpcInPieces(FormatTests):
    """Every batch passes through scratch files, and scans give what they read in small pieces."""

    @pytest.fixture
    def format_name(self, monkeypatch):
        monkeypatch.setattr(arrow_ipc, "_HELD_BYTES", 0)
        monkeypatch.setattr(arrow_ipc, "_PIECE_BYTES", 1000)
        return "arrow_ipc"


class TestVortex(FormatTests):
    @pytest.fixture
    def format_name(self):
        return "vortex"


class TestParquet(FormatTests):
    @pytest.fixture
    def format_name(self):
        return "parquet"
