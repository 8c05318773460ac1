"""Removed images wait in the trash; a step that is impossible never costs an example or an image."""

import logging

import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.editing.trash import Trash, image_name


@pytest.fixture
def trash(tmp_path):
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "a.png").write_bytes(b"a")
    return Trash(tmp_path)


def test_there_and_back(trash):
    """Only ids of added images count, and doing it twice is the same as once."""
    for _ in range(2):
        trash.put([".added/a.png", "added/a.png", ".added/none.png"])
        assert (trash.names(), list(trash.added.iterdir())) == ({"a.png"}, [])
    for _ in range(2):
        trash.restore([".added/a.png", ".added/none.png"])
        assert (trash.names(), (trash.added / "a.png").read_bytes()) == (set(), b"a")
    trash.put([".added/a.png"])
    assert trash.delete(["a.png"]) == 1


@pytest.mark.parametrize("path", ["a/b.png", ".added/../x", ".added/a/b", ".added/", ".added/.."])
def test_no_id_leads_out_of_the_folder(path):
    """Whatever a damaged index says."""
    assert image_name(path) is None


def test_an_image_that_cannot_be_moved_stays(trash, caplog):
    """The example was removed already, so that is a warning; the way back is an error before anything changes."""
    trash.folder.write_text("a file in its place")
    with caplog.at_level(logging.WARNING):
        trash.put([".added/a.png"])
    assert "could not be moved to the trash" in caplog.text
    assert (trash.added / "a.png").exists()
    trash.folder.unlink()
    trash.put([".added/a.png"])
    trash.added.rmdir()
    trash.added.write_text("a file in its place")
    with pytest.raises(IndexFileError, match="No example was changed"):
        trash.restore([".added/a.png"])
    assert trash.names() == {"a.png"}
