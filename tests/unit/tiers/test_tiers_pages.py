import numpy as np
import pytest

from headwater.tiers import MappedFile


def test_a_mapped_file_is_the_files_bytes_and_reading_ahead_changes_none(tmp_path):
    content = np.random.default_rng(0).integers(0, 256, 1 << 20).astype(np.uint8)
    path = tmp_path / "file"
    path.write_bytes(content.tobytes())
    mapped = MappedFile(path, len(content))
    starts = np.array([0, 5000, 1 << 19, len(content) - 1])
    mapped.read_ahead(starts, 1)
    mapped.read_ahead(starts, np.array([1, 10, 4096, 1]))
    mapped.read_ahead(starts[:0], 1)
    np.testing.assert_array_equal(mapped.data, content)
    assert not mapped.data.flags.writeable


def test_a_file_shorter_than_promised_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"short")
    with pytest.raises(ValueError, match="5 bytes, expected 10"):
        MappedFile(tmp_path / "file", 10)
