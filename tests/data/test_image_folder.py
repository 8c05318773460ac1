"""The corpus: what is a labelled picture, in which order, and why the rest is not."""

import os
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import CorpusError
from lmm_classifier.data.image_folder import Files, find_pictures, same_bytes_warnings, scan_corpus


@pytest.fixture
def root(tmp_path):
    return tmp_path / "corpus"


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def kinds(corpus):
    return {one.path: one.kind for one in corpus.skipped}


def test_labels_ids_and_order(root):
    """The first folder is the label, the relative path the id; the order is that of the ids."""
    touch(root, "b/2.JPG", "b/deep/er/1.png", "a/z.webp", "a/B.tiff", "a/b.heic", "c d/x.jpeg")
    corpus = scan_corpus(root)
    ids = ["a/B.tiff", "a/b.heic", "a/z.webp", "b/2.JPG", "b/deep/er/1.png", "c d/x.jpeg"]
    assert [example.path for example in corpus.examples] == ids
    assert [example.label for example in corpus.examples] == ["a", "a", "a", "b", "b", "c d"]
    assert corpus.skipped == ()


def test_what_is_kept_of_a_picture_is_little(root):
    """One text for all pictures of a label, and paths that are made when asked for."""
    touch(root, "a/1.jpg", "a/2.jpg", "b/3.jpg")
    examples = scan_corpus(root).examples
    assert examples[0].label is examples[1].label
    files = Files(root, examples)
    assert list(files) == [root / "a/1.jpg", root / "a/2.jpg", root / "b/3.jpg"]
    assert (len(files), files[-1], list(files[1:])) == (3, root / "b/3.jpg", [root / "a/2.jpg", root / "b/3.jpg"])
    assert files[0] is not files[0]


def test_everything_else_is_listed(root):
    """Other files, hidden ones and pictures without a label are listed with their kind."""
    touch(root, "a/1.jpg", "a/2.jpg", "a/notes.txt", "a/jpg", "a/.DS_Store", ".git/x.jpg", "loose.png", "a/no.jpg.bak")
    assert kinds(scan_corpus(root)) == {
        "a/notes.txt": "ignored",
        "a/jpg": "ignored",
        "a/.DS_Store": "ignored",
        ".git": "ignored",
        "loose.png": "no_label",
        "a/no.jpg.bak": "ignored",
    }


def test_links(root, tmp_path):
    """Links to files inside are pictures; links out, to folders, to nothing, and loops are listed, never followed."""
    touch(root, "a/1.jpg", "a/2.jpg")
    touch(tmp_path, "elsewhere/secret.jpg", "corpus-other/x.jpg")
    (root / "a/inside.jpg").symlink_to(root / "a/1.jpg")
    (root / "a/out.jpg").symlink_to(tmp_path / "elsewhere/secret.jpg")
    (root / "a/sibling.jpg").symlink_to(tmp_path / "corpus-other/x.jpg")
    (root / "a/dangling.jpg").symlink_to(root / "nowhere.jpg")
    (root / "a/loop").symlink_to(root / "a")
    (root / "a/self.jpg").symlink_to(root / "a/self.jpg")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    corpus = scan_corpus(root)
    assert [example.path for example in corpus.examples] == ["a/1.jpg", "a/2.jpg", "a/inside.jpg"]
    assert kinds(corpus) == {
        "a/out.jpg": "outside",
        "a/sibling.jpg": "outside",
        "a/dangling.jpg": "symlink",
        "a/loop": "symlink",
        "a/self.jpg": "symlink",
        "linked": "symlink",
    }


def test_a_linked_root_is_fine(root, tmp_path):
    """The root itself may be a link."""
    touch(root, "a/1.jpg")
    (tmp_path / "link").symlink_to(root)
    assert [example.path for example in scan_corpus(tmp_path / "link").examples] == ["a/1.jpg"]


def test_special_files_are_not_opened(root):
    """A pipe with a picture's name is listed."""
    touch(root, "a/1.jpg")
    os.mkfifo(root / "a/pipe.jpg")
    assert kinds(scan_corpus(root)) == {"a/pipe.jpg": "unreadable"}


def test_folders_that_cannot_be_opened(root, monkeypatch):
    """An unreadable folder is listed and the rest goes on."""
    touch(root, "a/1.jpg", "b/1.jpg")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    corpus = scan_corpus(root)
    assert kinds(corpus) == {"b": "unreadable"}
    assert [example.path for example in corpus.examples] == ["a/1.jpg"]


def test_thin_labels_are_warned_about(root):
    """Empty labels and labels with one picture are named; a healthy corpus is not warned about."""
    touch(root, "one/1.jpg", "two/1.jpg", "two/2.jpg", "text/readme.txt")
    (root / "bare").mkdir()
    warnings = scan_corpus(root).warnings
    assert [
        word for word in ("'bare' is empty", "'text' is empty", "'one' has a single") if word in " ".join(warnings)
    ] == [
        "'bare' is empty",
        "'text' is empty",
        "'one' has a single",
    ]
    touch(root, "one/2.jpg")
    (root / "text/readme.txt").unlink()
    (root / "text").rmdir()
    (root / "bare").rmdir()
    assert scan_corpus(root).warnings == ()


def test_same_bytes_under_two_labels():
    """Only content under different labels is a conflict; copies within a label are not."""
    examples = [Example("a/1.jpg", "a"), Example("a/2.jpg", "a"), Example("b/1.jpg", "b"), Example("b/2.jpg", "b")]
    assert same_bytes_warnings(examples, ["x", "x", "y", "z"]) == []
    (warning,) = same_bytes_warnings(examples, ["x", "w", "x", "z"])
    assert "a/1.jpg" in warning
    assert "b/1.jpg" in warning


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([], "expected"),
        (["a/notes.txt"], "expected"),
        (["1.jpg", "2.jpg"], "2 pictures lie directly in it: move them into one folder per label"),
    ],
)
def test_a_corpus_without_labelled_pictures(root, paths, said):
    """What was expected, what came, what to do."""
    root.mkdir()
    touch(root, *paths)
    with pytest.raises(CorpusError, match=said) as caught:
        scan_corpus(root)
    assert str(root) in str(caught.value)


def test_no_folder(root):
    """A root that is missing, or a file, is told apart."""
    with pytest.raises(CorpusError, match="does not exist"):
        scan_corpus(root)
    root.touch()
    with pytest.raises(CorpusError, match="is not a folder"):
        scan_corpus(root)


def test_find_pictures(root):
    """A folder to classify: every picture below it, in a stable order, labelled or not."""
    touch(root, "b.jpg", "a/x.png", "a/y.txt", ".hidden/z.jpg")
    assert find_pictures(root) == [root / "a/x.png", root / "b.jpg"]


@pytest.mark.skipif(sys.platform == "darwin", reason="this file system takes only UTF-8 names")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(name=st.binary(min_size=1, max_size=250).filter(lambda name: not set(name) & {0, 47} and name[:1] != b"."))
def test_names_of_any_bytes(tmp_path, name):
    """Whatever bytes a name has, the picture is found under it and its id leads back to the file."""
    folder = tmp_path / "names" / str(abs(hash(name)))
    (folder / "label").mkdir(parents=True, exist_ok=True)
    file = os.fsencode(folder / "label") + b"/" + name + b".jpg"
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY))
    (example,) = scan_corpus(folder).examples
    assert os.fsencode(folder / example.path) == file
