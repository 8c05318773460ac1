"""Zip archives: names, links, bombs, damage."""

import io
import stat
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import ImageError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.file_content import read_bytes
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset
from lmm_classifier.data.readers.source_file import LocalFile
from lmm_classifier.data.readers.zip_archive import zip_root
from tests.helpers.damage import assert_clear_errors
from tests.helpers.dataset_sources import write_zip

GOOD = {"a/1.png": b"one", "b/2.png": b"two"}


def kinds(path):
    dataset = open_dataset(DatasetSpec(str(path)), ImagesConfig())
    return [example.path for example in dataset.examples], {file.path: file.kind for file in dataset.skipped}


def test_names_that_leave_the_archive_are_refused(tmp_path):
    """Neither `..` nor an absolute name, a drive, a NUL or a backslash of Windows leads out; other names are ids."""
    hostile = ["../1.png", "a/../../2.png", "/etc/3.png", "C:/4.png", "a\\..\\..\\5.png", "\\\\host\\6.png"]
    odd = [
        "a/\u202egnp.png",
        "a/\udcff.png".encode("utf-8", "surrogateescape").decode("latin-1"),
        "a/ .png",
        "a//7.png",
    ]
    path = write_zip(tmp_path / "x.zip", {**GOOD, **dict.fromkeys([*hostile, *odd, ".added/8.png"], b"x")})
    examples, skipped = kinds(path)
    assert set(examples) == {*GOOD, "a/7.png", *odd[:3]}
    assert {skipped[name] for name in [*hostile, ".added/8.png"]} == {"outside"}


def test_what_is_no_image_is_passed_over(tmp_path):
    """Links, folders of other programs and other files are told as in a folder."""
    path = write_zip(tmp_path / "x.zip", {**GOOD, "__MACOSX/a/1.png": b"", "a/notes.txt": b"", "loose.png": b""})
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("a/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a/packed.png", b"x" * 1000, zipfile.ZIP_BZIP2)
    examples, skipped = kinds(path)
    assert examples == list(GOOD)
    assert skipped == {
        "__MACOSX/a/1.png": "ignored",
        "a/notes.txt": "ignored",
        "loose.png": "no_label",
        "a/link.png": "symlink",
        "a/packed.png": "unsupported",
    }


def test_names_that_differ_only_in_case_are_told(tmp_path):
    """Both are read."""
    path = write_zip(tmp_path / "x.zip", {**GOOD, "a/X.png": b"1", "a/x.PNG": b"2"})
    dataset = open_dataset(DatasetSpec(str(path)), ImagesConfig())
    assert len(dataset.examples) == 4
    assert any("differ only in case" in warning for warning in dataset.warnings)


def test_two_members_of_one_name_are_told(tmp_path):
    """The last one counts, as for programs that unpack."""
    path = write_zip(tmp_path / "x.zip", GOOD)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a/1.png", b"newer")
    examples, skipped = kinds(path)
    assert (examples, skipped) == (list(GOOD), {"a/1.png": "repeated"})
    assert (zip_root(LocalFile(path)) / "a/1.png").read_bytes() == b"newer"


def test_a_bomb_is_refused_by_its_announced_size(tmp_path):
    """A member of a gigabyte of zeros is not unpacked; nor is one that announces less than it has."""
    path = write_zip(tmp_path / "x.zip", {"a/1.png": bytes(1 << 24)})
    with pytest.raises(ImageError, match="at most"):
        read_bytes(zip_root(LocalFile(path)) / "a/1.png", ImageLimits(max_bytes=1 << 20))
    data = path.read_bytes()
    lying = data.replace((1 << 24).to_bytes(4, "little"), (1 << 10).to_bytes(4, "little"))
    path.write_bytes(lying)
    with pytest.raises(ImageError, match="more than the 1,024 bytes it announces"):
        read_bytes(zip_root(LocalFile(path)) / "a/1.png", ImageLimits(max_bytes=1 << 20))


def test_a_changed_archive_is_read_again(tmp_path):
    """Places stay right when the file is written anew."""
    path = write_zip(tmp_path / "x.zip", GOOD)
    place = zip_root(LocalFile(path)) / "b/2.png"
    assert place.read_bytes() == b"two"
    write_zip(path, {"new/0.png": b"x" * 100, "b/2.png": b"other"})
    assert place.read_bytes() == b"other"
    write_zip(path, {"new/0.png": b"x" * 100})
    with pytest.raises(FileNotFoundError, match="no member"):
        place.stat()


def _archive(method):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in GOOD.items():
            archive.writestr(name, data * 20)
    return stream.getvalue()


ARCHIVES = [_archive(zipfile.ZIP_STORED), _archive(zipfile.ZIP_DEFLATED)]


@settings(max_examples=30, deadline=None)
@given(
    data=st.sampled_from(ARCHIVES),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 120),
)
def test_a_damaged_archive_gives_clear_errors(tmp_path_factory, data, changes, cut):
    """Whatever the bytes are, reading ends with an error of this program, or with bytes of the announced size."""
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    assert_clear_errors(path, data, changes, cut)
