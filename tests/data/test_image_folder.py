"""Scanning a folder finds the labeled images in a stable order, and says why other files are none."""

import os
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.dataset import Files
from lmm_classifier.data.image_folder import (
    duplicate_warnings,
    find_images,
    near_label_notes,
    scan_image_folder,
    skipped_notes,
)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "dataset"


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def kinds(dataset):
    return {file.path: file.kind for file in dataset.skipped}


def test_labels_ids_and_order(root):
    """The first folder is the label, the relative path is the id, and examples are sorted by id."""
    touch(root, "b/2.JPG", "b/deep/er/1.png", "a/z.webp", "a/B.tiff", "a/b.heic", "c d/x.jpeg")
    dataset = scan_image_folder(root)
    ids = ["a/B.tiff", "a/b.heic", "a/z.webp", "b/2.JPG", "b/deep/er/1.png", "c d/x.jpeg"]
    assert [example.path for example in dataset.examples] == ids
    assert [example.label for example in dataset.examples] == ["a", "a", "a", "b", "b", "c d"]
    assert dataset.skipped == ()


def test_an_example_takes_little_memory(root):
    """All images of a label share one string, and paths are created when they are accessed."""
    touch(root, "a/1.jpg", "a/2.jpg", "b/3.jpg")
    examples = scan_image_folder(root).examples
    assert examples[0].label is examples[1].label
    files = Files(root, examples)
    assert list(files) == [root / "a/1.jpg", root / "a/2.jpg", root / "b/3.jpg"]
    assert (len(files), files[-1], list(files[1:])) == (3, root / "b/3.jpg", [root / "a/2.jpg", root / "b/3.jpg"])
    assert files[0] is not files[0]


def test_all_other_files_are_listed(root):
    """Other files, hidden ones and images without a label are listed with their kind."""
    touch(root, "a/1.jpg", "a/2.jpg", "a/notes.txt", "a/jpg", "a/.DS_Store", ".git/x.jpg", "loose.png", "a/no.jpg.bak")
    assert kinds(scan_image_folder(root)) == {
        "a/notes.txt": "ignored",
        "a/jpg": "ignored",
        "a/.DS_Store": "ignored",
        ".git": "ignored",
        "loose.png": "no_label",
        "a/no.jpg.bak": "ignored",
    }


def test_files_without_a_telling_name_are_known_by_their_content(root):
    """The same rule holds for a folder as for a file that is named: the bytes decide."""
    png = b"\x89PNG\r\n\x1a\n and more"
    for path, data in [("a/none", png), ("a/1.2024", png), ("a/x.txt", png), ("a/y.txt", b"text"), ("a/z.png~", png)]:
        (root / "a").mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    touch(root, "a/1.jp2", "a/1.ppm", "a/1.NEF")
    dataset = scan_image_folder(root)
    assert [example.path for example in dataset.examples] == ["a/1.2024", "a/none", "a/x.txt"]
    unsupported = dict.fromkeys(["a/1.NEF", "a/1.jp2", "a/1.ppm"], "unsupported")
    assert kinds(dataset) == {**unsupported, "a/y.txt": "ignored", "a/z.png~": "ignored"}


def test_what_other_programs_leave_is_no_label(root):
    """It is counted as skipped, at any depth, and no warning calls it an empty label."""
    touch(root, "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    others = ["__MACOSX/a/._1.jpg", "@eaDir/1.jpg", "a/@eaDir/1.jpg", ".git/x.jpg", "$RECYCLE.BIN/1.jpg", "a/Thumbs.db"]
    touch(root, *others, "lost+found/1.jpg", "b/.ipynb_checkpoints/1.jpg", "a/._1.jpg", "a/.DS_Store")
    (root / "sorted/c").mkdir(parents=True)
    touch(root, "sorted/c/1.jpg", "sorted/.lmm-classifier-output")
    dataset = scan_image_folder(root)
    assert {example.label for example in dataset.examples} == {"a", "b"}
    assert dataset.warnings == ()
    assert set(kinds(dataset).values()) == {"ignored", "own_files"}
    assert len(dataset.skipped) == 11
    assert scan_image_folder(root / "sorted").examples == (Example("c/1.jpg", "c"),)


def test_labels_are_in_one_normal_form(root):
    """Two Unicode forms of a name are one label; files are still opened by their own names."""
    touch(root, "caf\u00e9/1.jpg", "cafe\u0301/2.jpg", "Hat/1.jpg", "hat/1.jpg", "hat /1.jpg", "\u200b/1.jpg")
    dataset = scan_image_folder(root)
    labels = {example.path: example.label for example in dataset.examples}
    assert labels["caf\u00e9/1.jpg"] == labels["cafe\u0301/2.jpg"] == "caf\u00e9"
    assert all((root / example.path).exists() for example in dataset.examples)
    assert kinds(dataset) == {"\u200b/1.jpg": "no_label"}
    text = "\n".join(dataset.warnings)
    assert "'cafe\\u0301', 'caf\\xe9' are one label" in text
    assert "'Hat', 'hat', 'hat ' differ only in case, spaces" in text


def test_near_labels_of_another_folder_are_named(root):
    """A folder that is compared with an index says which of its labels only look like one."""
    touch(root, "Hat/1.jpg", "coat/1.jpg", "new/1.jpg", "new/x.jp2")
    dataset = scan_image_folder(root)
    (note,) = near_label_notes(root, dataset.examples, ["hat", "coat"])
    assert "'Hat' is not a label of the index. It has 'hat'" in note
    (note,) = skipped_notes(str(root), dataset.skipped)
    assert "1 file skipped: 1 unsupported, such as new/x.jp2" in note


def test_links(root, tmp_path):
    """Links to files inside are images; other links are listed and never followed."""
    touch(root, "a/1.jpg", "a/2.jpg")
    touch(tmp_path, "elsewhere/secret.jpg", "dataset-other/x.jpg")
    (root / "a/inside.jpg").symlink_to(root / "a/1.jpg")
    (root / "a/out.jpg").symlink_to(tmp_path / "elsewhere/secret.jpg")
    (root / "a/sibling.jpg").symlink_to(tmp_path / "dataset-other/x.jpg")
    (root / "a/dangling.jpg").symlink_to(root / "nowhere.jpg")
    (root / "a/loop").symlink_to(root / "a")
    (root / "a/self.jpg").symlink_to(root / "a/self.jpg")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    dataset = scan_image_folder(root)
    assert [example.path for example in dataset.examples] == ["a/1.jpg", "a/2.jpg", "a/inside.jpg"]
    assert kinds(dataset) == {
        "a/out.jpg": "outside",
        "a/sibling.jpg": "outside",
        "a/dangling.jpg": "symlink",
        "a/loop": "symlink",
        "a/self.jpg": "symlink",
        "linked": "symlink",
    }


def test_the_root_may_be_a_link(root, tmp_path):
    """A link to the dataset folder gives the same examples."""
    touch(root, "a/1.jpg")
    (tmp_path / "link").symlink_to(root)
    assert [example.path for example in scan_image_folder(tmp_path / "link").examples] == ["a/1.jpg"]


def test_special_files_are_not_opened(root):
    """A pipe with the name of an image is listed."""
    touch(root, "a/1.jpg")
    os.mkfifo(root / "a/pipe.jpg")
    assert kinds(scan_image_folder(root)) == {"a/pipe.jpg": "unreadable"}


def test_folders_that_cannot_be_opened(root, monkeypatch):
    """An unreadable folder is listed, and the others are scanned."""
    touch(root, "a/1.jpg", "b/1.jpg")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    dataset = scan_image_folder(root)
    assert kinds(dataset) == {"b": "unreadable"}
    assert [example.path for example in dataset.examples] == ["a/1.jpg"]


def test_labels_with_too_few_images_give_warnings(root):
    """Empty labels and labels with one image are named; other datasets give no warning."""
    touch(root, "one/1.jpg", "two/1.jpg", "two/2.jpg", "text/readme.txt")
    (root / "bare").mkdir()
    warnings = scan_image_folder(root).warnings
    expected = ("'bare' is empty", "'text' is empty", "'one' has a single")
    assert [part for part in expected if part in " ".join(warnings)] == list(expected)
    touch(root, "one/2.jpg")
    (root / "text/readme.txt").unlink()
    (root / "text").rmdir()
    (root / "bare").rmdir()
    assert scan_image_folder(root).warnings == ()


def test_same_bytes_under_two_labels():
    """Only content under different labels is a conflict; copies within a label are not."""
    examples = [Example("a/1.jpg", "a"), Example("a/2.jpg", "a"), Example("b/1.jpg", "b"), Example("b/2.jpg", "b")]
    assert duplicate_warnings(examples, ["x", "x", "y", "z"]) == []
    (warning,) = duplicate_warnings(examples, ["x", "w", "x", "z"])
    assert "a/1.jpg" in warning
    assert "b/1.jpg" in warning


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "expected"),
        (["a/notes.txt"], "expected"),
        (["1.jpg", "2.jpg"], "2 images are directly in it: move them into one folder per label"),
    ],
)
def test_a_dataset_without_labeled_images(root, paths, message):
    """The error names the folder, the expected layout and the remedy."""
    root.mkdir()
    touch(root, *paths)
    with pytest.raises(DatasetError, match=message) as caught:
        scan_image_folder(root)
    assert str(root) in str(caught.value)


def test_no_folder(root):
    """A missing root and a root that is a file have different errors."""
    with pytest.raises(DatasetError, match="does not exist"):
        scan_image_folder(root)
    root.touch()
    with pytest.raises(DatasetError, match="is not a folder"):
        scan_image_folder(root)


def test_find_images(root):
    """All images below a folder are found in a stable order, labeled or not."""
    touch(root, "b.jpg", "a/x.png", "a/y.txt", ".hidden/z.jpg")
    found = find_images(root)
    assert found.paths == (root / "a/x.png", root / "b.jpg")
    assert [file.path for file in found.skipped] == [".hidden", "a/y.txt"]


@pytest.mark.skipif(sys.platform == "darwin", reason="this file system takes only UTF-8 names")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(name=st.binary(min_size=1, max_size=250).filter(lambda name: not set(name) & {0, 47} and name[:1] != b"."))
def test_names_of_any_bytes(tmp_path, name):
    """An image is found for any bytes in its name, and its id leads back to the file."""
    folder = tmp_path / "names" / str(abs(hash(name)))
    (folder / "label").mkdir(parents=True, exist_ok=True)
    file = os.fsencode(folder / "label") + b"/" + name + b".jpg"
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY))
    (example,) = scan_image_folder(folder).examples
    assert os.fsencode(folder / example.path) == file


@pytest.mark.parametrize("place", ["index", "a/deep/index"])
@pytest.mark.parametrize("files", [["index.sqlite", "added/x.png"], ["index.sqlite.damaged-1", "writer.lock"]])
def test_an_index_in_the_dataset_is_no_data(root, place, files):
    """Wherever it lies, sound or damaged, its images are neither examples nor a label, and it is counted."""
    touch(root, "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", f"{place}/derived/y.jpg")
    touch(root, *(f"{place}/{file}" for file in files))
    dataset = scan_image_folder(root)
    assert [example.path for example in dataset.examples] == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"]
    assert kinds(dataset) == {place: "own_files"}
    assert dataset.warnings == ()
    assert find_images(root).paths == tuple(root / example.path for example in dataset.examples)
    with pytest.raises(DatasetError, match="is an index of this program"):
        scan_image_folder(root / place)
    assert find_images(root / place).paths == ()


def test_a_folder_with_a_database_of_another_program_is_data(root):
    """The name of one file is not enough."""
    touch(root, "a/1.jpg", "a/index.sqlite", "b/2.jpg")
    assert len(scan_image_folder(root).examples) == 2


def test_images_that_the_program_wrote_are_no_data_unless_they_are_named(root):
    """Such as those of the demo, below the dataset."""
    touch(root, "a/1.jpg", "demo/.lmm-classifier-output", "demo/dataset/b/1.jpg")
    assert [example.path for example in scan_image_folder(root).examples] == ["a/1.jpg"]
    assert [example.path for example in scan_image_folder(root / "demo/dataset").examples] == ["b/1.jpg"]


def test_a_folder_that_is_none_is_named_not_searched(tmp_path):
    """A misspelt folder is no empty folder, and a file is no folder."""
    (tmp_path / "file").touch()
    for name, problem in (("nowhere", "does not exist"), ("file", "is not a folder")):
        for find in (find_images, scan_image_folder):
            with pytest.raises(DatasetError, match=f"{name} {problem}: expected a folder"):
                find(tmp_path / name)
