"""Tar archives: names, links, damage that the library would pass over in silence."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset
from tests.helpers.damage import assert_clear_errors
from tests.helpers.dataset_sources import write_tar

GOOD = {"a/1.png": b"one" * 300, "b/2.png": b"two" * 300, "c/3.png": b"three" * 300}


def kinds(path):
    dataset = open_dataset(DatasetSpec(str(path)), ImagesConfig())
    return [example.path for example in dataset.examples], {file.path: file.kind for file in dataset.skipped}


def test_links_and_names_that_leave_are_refused(tmp_path):
    """Symbolic and hard links, devices and `..` are told, each with its kind."""
    path = write_tar(tmp_path / "x.tar", {**GOOD, "../x.png": b"x", "/y.png": b"y"})
    with tarfile.open(path, "a") as archive:
        for name, kind in (("a/s.png", tarfile.SYMTYPE), ("a/h.png", tarfile.LNKTYPE), ("a/d.png", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    examples, skipped = kinds(path)
    assert examples == list(GOOD)
    assert skipped == {
        "../x.png": "outside",
        "/y.png": "outside",
        "a/s.png": "symlink",
        "a/h.png": "symlink",
        "a/d.png": "ignored",
    }


@pytest.mark.parametrize("damage", ["a header in the middle", "cut in a member", "cut in a header"])
def test_a_damaged_rest_is_told(tmp_path, damage):
    """The members before the damage are used; the rest counts as hidden, so that a sync removes no example."""
    path = write_tar(tmp_path / "x.tar", GOOD)
    data = bytearray(path.read_bytes())
    if damage.startswith("a header"):
        second = data.index(b"b/2.png")
        data[second + 100 : second + 160] = b"\xff" * 60
    else:
        third = data.index(b"c/3.png")
        del data[third + (700 if "member" in damage else 200) :]
    path.write_bytes(data)
    examples, skipped = kinds(path)
    assert "a/1.png" in examples
    assert "unreadable" in skipped.values()


def test_a_member_of_negative_size_does_not_loop(tmp_path):
    """A size below zero would lead back to the first member for ever."""
    path = write_tar(tmp_path / "x.tar", GOOD)
    data = bytearray(path.read_bytes())
    start = data.index(b"b/2.png")
    data[start + 124 : start + 136] = (-2048).to_bytes(12, "big", signed=True)
    header = bytes(data[start : start + 148]) + b" " * 8 + bytes(data[start + 156 : start + 512])
    data[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    path.write_bytes(data)
    examples, skipped = kinds(path)
    assert "a/1.png" in examples
    assert skipped["."] == "unreadable"


def test_a_compressed_archive_is_refused(tmp_path):
    """Its members have no position; unpack it first."""
    with tarfile.open(tmp_path / "x.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a/1.png"))
    with pytest.raises(DatasetError, match="not an uncompressed tar archive"):
        kinds(tmp_path / "x.tar")


def _archive():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in {**GOOD, "a/é" + "x" * 120 + ".png": b"long"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


ARCHIVE = _archive()


@settings(max_examples=30, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(ARCHIVE) - 1), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, len(ARCHIVE)),
)
def test_a_damaged_archive_gives_clear_errors(tmp_path_factory, changes, cut):
    """Whatever the bytes are, reading ends with an error of this program, or with bytes of the announced size."""
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    assert_clear_errors(path, ARCHIVE, changes, cut // 2)
