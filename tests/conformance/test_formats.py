import pytest

from headwater.testing.formats import FormatTests


class TestArrowIpc(FormatTests):
    @pytest.fixture
    def format_name(self):
        return "arrow_ipc"


class TestVortex(FormatTests):
    @pytest.fixture
    def format_name(self):
        return "vortex"


class TestParquet(FormatTests):
    @pytest.fixture
    def format_name(self):
        return "parquet"
