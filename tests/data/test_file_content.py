"""Files are read within the limits, whatever happens to them meanwhile."""

import os
import stat

import pytest

from lmm_classifier.core.errors import ImageTooLargeError, UnreadableImageError
from lmm_classifier.data.file_content import read_bytes
from lmm_classifier.data.limits import ImageLimits


@pytest.mark.parametrize("size", [0, 1, 5000, (1 << 20) + 1])
def test_all_bytes_are_read(tmp_path, size):
    """A file of any size is read whole."""
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    assert read_bytes(tmp_path / "x", ImageLimits()) == data
    assert read_bytes(tmp_path / "x", ImageLimits(max_bytes=max(size, 1))) == data


def test_limits_and_what_is_no_file(tmp_path):
    """Large files, folders, pipes and missing files are refused by their kind; nothing waits."""
    (tmp_path / "x").write_bytes(bytes(11))
    with pytest.raises(ImageTooLargeError, match="11 bytes, at most 10 are read"):
        read_bytes(tmp_path / "x", ImageLimits(max_bytes=10))
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "/dev/zero"):
        with pytest.raises(UnreadableImageError, match="not a regular file"):
            read_bytes(tmp_path / name, ImageLimits())
    for name in ("missing", "a\0b"):
        with pytest.raises(UnreadableImageError):
            read_bytes(tmp_path / name, ImageLimits())


def test_a_file_that_grows_meanwhile_stays_within_the_limit(tmp_path, monkeypatch):
    """More bytes than its size announced are read up to the limit, and refused beyond it."""
    (tmp_path / "x").write_bytes(bytes(1000))
    real = os.fstat

    def smaller(handle):
        status = list(real(handle))
        status[stat.ST_SIZE] = 10
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", smaller)
    with pytest.raises(ImageTooLargeError, match="more than 100 bytes"):
        read_bytes(tmp_path / "x", ImageLimits(max_bytes=100))
    assert read_bytes(tmp_path / "x", ImageLimits(max_bytes=5000)) == bytes(1000)
