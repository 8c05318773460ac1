"""A folder of exported files appears whole, and takes the place only of another such folder."""

import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.integrations.exports.new_folder import new_folder
from tests.helpers.exported import leftovers

NAMES = ("a.txt",)


def write(path, text, overwrite=False):
    with new_folder(path, NAMES, overwrite) as folder:
        (folder / "a.txt").write_text(text, "utf-8")


def test_a_folder_is_replaced_by_a_newer_one(tmp_path):
    """Only with `overwrite`; an empty folder is no obstacle."""
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "first")
    with pytest.raises(OutputError, match="exists already"):
        write(tmp_path / "out", "second")
    write(tmp_path / "out", "second", overwrite=True)
    assert (tmp_path / "out/a.txt").read_text("utf-8") == "second"
    assert leftovers(tmp_path) == []


def test_a_failed_one_leaves_the_former(tmp_path):
    """And no temporary folder; a full disk is said in words."""
    write(tmp_path / "out", "first")
    for error, raised in ((OSError(28, "No space left on device"), OutputError), (ValueError("x"), ValueError)):
        with pytest.raises(raised), new_folder(tmp_path / "out", NAMES, overwrite=True):
            raise error
    assert (tmp_path / "out/a.txt").read_text("utf-8") == "first"
    assert leftovers(tmp_path) == []


def test_what_is_never_replaced(tmp_path):
    """A file, a folder with anything else, and a folder of sorted images, which has the same mark."""
    (tmp_path / "file").write_text("mine", "utf-8")
    with pytest.raises(OutputError, match="is no folder"):
        write(tmp_path / "file", "x", overwrite=True)
    write(tmp_path / "out", "first")
    (tmp_path / "out/photo.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="other files"):
        write(tmp_path / "out", "x", overwrite=True)
    (tmp_path / "out/a.txt").unlink()
    with pytest.raises(OutputError, match="other files"):
        write(tmp_path / "out", "x", overwrite=True)
    with pytest.raises(OutputError, match="does not exist"):
        write(tmp_path / "none/out", "x")
