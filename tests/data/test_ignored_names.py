"""What systems and other programs leave in folders is never a label or an image."""

import pytest

from lmm_classifier.data.ignored_names import is_ignored_folder, why_ignored_file


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX",
        "@eaDir",
        "@Recycle",
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        ".git",
        ".ipynb_checkpoints",
        ".thumbnails",
        ".@__thumb",
        "__pycache__",
        "node_modules",
    ],
)
def test_folders_of_others(name):
    """In any case of letters."""
    assert is_ignored_folder(name)
    assert is_ignored_folder(name.upper())


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", ".DS_Store", "._x.jpg", "x.jpg~", "x.jpg.part", "a.BAK"])
def test_files_of_others(name):
    """Each with a reason."""
    assert why_ignored_file(name)


@pytest.mark.parametrize("name", ["recycle", "macosx", "git", "thumbs", "a@b", "found", "x.jpg", "backup", "tmp"])
def test_ordinary_names(name):
    """A similar name is one of the user."""
    assert not is_ignored_folder(name)
    assert why_ignored_file(name) is None
