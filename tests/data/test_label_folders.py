"""Sorting images by label never loses or replaces one, and doing it again changes nothing."""

import errno
import os
from hashlib import sha256

import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.data import label_folders
from lmm_classifier.data.label_folders import LabelFolders


def file(path, data=b"one"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def digest(path):
    return sha256(path.read_bytes()).hexdigest()


def place(folders, *files, label="cat"):
    for image in files:
        folders.place(image, label, digest(image))


def tree(root):
    """Map the path of each visible file to its content."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("[!.]*")) if p.is_file()}


@pytest.mark.parametrize("action", ["copy", "link", "move"])
def test_each_image_lies_in_the_folder_of_its_label(tmp_path, action):
    """Names that are taken get another one; doing it again finds every image in place."""
    first, second, third = (file(tmp_path / f"new/{n}/1.jpg", data) for n, data in enumerate([b"a", b"b", b"b"]))
    for _ in range(2):
        folders = LabelFolders(tmp_path / "sorted", action)
        place(folders, *(image for image in (first, second, third) if image.exists()))
        folders.place(file(tmp_path / "new/2.jpg", b"dog"), "dog", sha256(b"dog").hexdigest())
    names = sorted(tree(tmp_path / "sorted").items())
    other = f"cat/1-{sha256(b'b').hexdigest()[:8]}.jpg"
    expected = [(other, b"b"), ("cat/1.jpg", b"a"), ("dog/2.jpg", b"dog")]
    if action == "link":  # two files of one content are two images
        expected.insert(0, (f"cat/1-{sha256(b'b').hexdigest()}.jpg", b"b"))
    assert sorted(name for name, _ in names) == sorted(name for name, _ in expected)
    assert dict(names) == dict(expected)
    assert folders.counts["already there"] == {"copy": 4, "link": 4, "move": 1}[action]
    assert first.exists() == (action != "move")
    assert not list(tmp_path.rglob("*.tmp"))


def test_no_other_file_is_replaced(tmp_path):
    """A file of the user with the same name stays."""
    image, other = file(tmp_path / "1.jpg"), file(tmp_path / "sorted/cat/1.jpg", b"mine")
    for action in ("copy", "link", "move"):
        place(LabelFolders(tmp_path / "sorted", action), file(image))
        assert other.read_bytes() == b"mine"


def test_a_copy_keeps_the_time(tmp_path):
    """And the permissions."""
    image = file(tmp_path / "1.jpg")
    os.utime(image, ns=(10**18, 10**18))
    image.chmod(0o640)
    place(LabelFolders(tmp_path / "sorted", "copy"), image)
    status = (tmp_path / "sorted/cat/1.jpg").stat()
    assert (status.st_mtime_ns, status.st_mode & 0o777) == (10**18, 0o640)


@pytest.mark.parametrize("action", ["copy", "move"])
def test_a_file_that_changed_is_left_alone(tmp_path, action):
    """Its label is that of another content."""
    image, folders = file(tmp_path / "1.jpg", b"new"), LabelFolders(tmp_path / "sorted", action)
    folders.place(image, "cat", sha256(b"old").hexdigest())
    assert folders.counts == {"failed": 1}
    assert "changed after it was classified" in folders.problems[0].reason
    assert image.read_bytes() == b"new"
    assert tree(tmp_path / "sorted") == {}


def test_an_image_in_its_place_is_not_moved_away(tmp_path):
    """Sorting a sorted folder again changes nothing, even by another name of the folder."""
    image = file(tmp_path / "sorted/cat/1.jpg")
    (tmp_path / "other name").symlink_to(tmp_path / "sorted")
    for root in (tmp_path / "sorted", tmp_path / "other name"):
        folders = LabelFolders(root, "move")
        place(folders, image)
        assert folders.counts == {"already there": 1}
        assert image.read_bytes() == b"one"


def test_a_move_that_was_interrupted_is_completed(tmp_path):
    """Between the new name and the old one's end, the image has both."""
    image = file(tmp_path / "1.jpg")
    (tmp_path / "sorted/cat").mkdir(parents=True)
    (tmp_path / "sorted/cat/1.jpg").hardlink_to(image)
    place(LabelFolders(tmp_path / "sorted", "move"), image)
    assert not image.exists()
    assert tree(tmp_path / "sorted") == {"cat/1.jpg": b"one"}


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM])
@pytest.mark.parametrize("action", ["copy", "move"])
def test_another_disk_and_a_disk_without_links(tmp_path, monkeypatch, code, action):
    """Content is copied, and names are still never replaced."""

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    images = [file(tmp_path / f"{number}/1.jpg", bytes([number])) for number in range(2)]
    place(LabelFolders(tmp_path / "sorted", action), *images)
    assert sorted(tree(tmp_path / "sorted").values()) == [b"\0", b"\1"]
    assert [image.exists() for image in images] == [action == "copy"] * 2


def test_a_link_is_moved_as_its_content(tmp_path):
    """The file that it leads to stays."""
    target = file(tmp_path / "store/x")
    link = tmp_path / "1.jpg"
    link.symlink_to("store/x")
    place(LabelFolders(tmp_path / "sorted", "move"), link)
    assert not link.is_symlink()
    assert target.exists()
    assert tree(tmp_path / "sorted") == {"cat/1.jpg": b"one"}


def test_a_full_disk_ends_the_run(tmp_path, monkeypatch):
    """Every other failure is counted, with its reason."""
    image, folders = file(tmp_path / "1.jpg"), LabelFolders(tmp_path / "sorted", "copy")
    file(tmp_path / "sorted/dog")  # a file where the folder should be
    place(folders, image, label="dog")
    assert [(problem.path, problem.kind) for problem in folders.problems] == [(str(image), "not_sorted")]

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(label_folders, "_copy", full)
    with pytest.raises(OutputError, match="No space left on device"):
        place(folders, image)
    with pytest.raises(OutputError, match="Cannot write to"):
        LabelFolders(tmp_path / "1.jpg", "copy")


def test_labels_that_share_a_folder_name_are_kept_apart(tmp_path):
    """As on a file system that ignores case: here a link makes two names one folder."""
    folders = LabelFolders(tmp_path / "sorted", "copy")
    place(folders, file(tmp_path / "1.jpg"), label="hat")
    (tmp_path / "sorted/Hat").symlink_to(tmp_path / "sorted/hat")
    place(folders, file(tmp_path / "2.jpg"), label="Hat")
    assert folders.folders["Hat"].name.startswith("Hat%~")
    assert folders.counts == {"copied": 2}


def test_long_names(tmp_path):
    """A second image of a name of 255 bytes has room for its own ending."""
    name = "é" * 125 + "a.jpg"
    place(LabelFolders(tmp_path / "sorted", "copy"), file(tmp_path / "a" / name), file(tmp_path / "b" / name, b"two"))
    assert len(tree(tmp_path / "sorted")) == 2


def test_an_index_is_no_place_for_sorted_images(tmp_path):
    """A label may have the name of one of its folders."""
    for name in ("index.sqlite", "derived/1.0.npy"):
        file(tmp_path / "index" / name)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="it is an index. Choose another folder"):
        LabelFolders(tmp_path / "index", "copy")
    assert tree(tmp_path) == before
