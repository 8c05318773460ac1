"""Undo: any edit, also an old one, becomes undone, and undoing everything gives the first index again."""

import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import ConflictError, DatasetError, IndexFileError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.function import FunctionEncoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.corrections import Correction, apply_corrections
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index
from tests.helpers.datasets import LABELS, draw_dataset, offline_config
from tests.helpers.journals import assert_consistent, everything

COUNT = 3  # images per label


def colors(images):
    return [[1.0, *np.asarray(image.resize((2, 2))).ravel() / 255] for image in images]


def encoder(name="colors"):
    return FunctionEncoder(colors, name, 13)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a dataset and its index, which no test changes."""
    root = tmp_path_factory.mktemp("original")
    draw_dataset(root / "dataset", count=COUNT, size=16)
    build_index_from_directory(
        root / "dataset", root / "index", config=offline_config(root / "index"), encoder=encoder()
    )
    return root


class Place:
    """A copy of a dataset and its index that a test changes."""

    def __init__(self, original, root):
        self.root, self.dataset, self.index = root, root / "dataset", root / "index"
        shutil.copytree(original, root, dirs_exist_ok=True)
        self.editor = IndexEditor(self.index, offline_config(self.index), encoder())
        self.editor.sync(self.dataset)

    def image(self, seed):
        file = self.root / f"photo {seed}.png"
        draw("argyle", np.random.default_rng(seed), 16).save(file)
        return file

    def undo_everything(self):
        """Undo until nothing is left to undo."""
        undone = []
        while any(edit.undone_by is None and edit.undoes is None and edit.id > 1 for edit in self.editor.edits(10**6)):
            undone.append(self.editor.undo().edit)
        return undone


@pytest.fixture
def place(original, tmp_path):
    return Place(original, tmp_path / "place")


def test_each_kind_of_edit_is_undone_and_done_again(place):
    """The index is then exactly as before, or as after; every undo is an edit of its own."""
    editor = place.editor
    for number, edit in enumerate(
        [
            lambda: editor.add([place.image(1), place.image(2)], ["argyle", "stripes"]),
            lambda: editor.remove(["stripes/00.png", editor.examples_of("argyle")[0]]),
            lambda: editor.relabel(["stripes/01.png"], "gingham"),
            lambda: editor.rename_label("herringbone", "bones"),
            lambda: editor.rename_label("bones", "gingham"),
            lambda: editor.dismiss(editor.findings_about("label", ["stripes/01.png"])),
            lambda: editor.restore(editor.dismissals()),
            lambda: apply_corrections(
                place.index,
                [
                    Correction("stripes/02.png", "remove", "", 2),
                    Correction("gingham/00.png", "relabel", "stripes", 3),
                    Correction("gingham/01.png", "dismiss", "", 4),
                ],
            ),
            lambda: editor.sync(place.dataset),
        ]
    ):
        before = everything(place.index)
        if number == 8:
            (place.dataset / "gingham" / "00.png").rename(place.dataset / "gingham" / "moved.png")
            (place.dataset / "polka_dots" / "00.png").unlink()
            draw("tartan", np.random.default_rng(3), 16).save(place.dataset / "polka_dots" / "new.png")
        done = edit().edit
        after = everything(place.index)
        assert after != before
        undo = editor.undo(done).edit
        assert everything(place.index) == before
        redo = editor.undo(undo).edit
        assert everything(place.index) == after
        newest = editor.edits(3)
        assert [(e.id, e.kind, e.undoes, e.undone_by) for e in newest[:2]] == [
            (redo, "redo", undo, None),
            (undo, "undo", done, redo),
        ]
        assert (newest[2].id, newest[2].undone_by) == (done, None)  # it has its effect again
        assert_consistent(place.index)


def test_an_old_edit_is_undone_while_later_ones_stay(place):
    """Only the examples of the old edit become what they were."""
    editor = place.editor
    old = editor.relabel(["stripes/00.png"], "gingham").edit
    editor.relabel(["stripes/01.png"], "gingham")
    editor.remove(["polka_dots/00.png"])
    report = editor.undo(old, note="it was right", origin="a person")
    assert report.changes.relabeled == (("stripes/00.png", "gingham", "stripes"),)
    assert set(editor.examples_of("stripes")) == {"stripes/00.png", "stripes/02.png"}
    newest = editor.edits(1)[0]
    assert (newest.note, newest.origin, newest.undoes) == ("it was right", "a person", old)
    assert newest.time.tzinfo is not None


def test_the_last_edit_is_the_one_that_undo_takes(place):
    """Undone edits and undos are passed over; one that is done again counts again."""
    assert place.editor.last_edit() is None
    first, second = (place.editor.rename_label(*names).edit for names in (("stripes", "lines"), ("lines", "bars")))
    assert place.editor.last_edit().id == second
    undo = place.editor.undo().edit
    assert place.editor.last_edit().id == first
    place.editor.undo(undo)
    assert place.editor.last_edit().id == second
    place.editor.undo()
    place.editor.undo()
    assert place.editor.last_edit() is None


def test_an_edit_whose_examples_changed_since_is_refused_by_name(place):
    """Nothing is changed then, and a second undo of one edit is refused too."""
    editor = place.editor
    edit = editor.relabel(["stripes/00.png", "stripes/01.png"], "gingham").edit
    editor.relabel(["stripes/00.png"], "argyle")
    editor.remove(["stripes/01.png"])
    before = everything(place.index)
    with pytest.raises(ConflictError, match="2 examples have changed since") as caught:
        editor.undo(edit)
    assert caught.value.conflicts == {
        "stripes/00.png": ("gingham", "argyle"),
        "stripes/01.png": ("gingham", None),
    }
    removal = editor.edits(1)[0].id
    editor.add([place.dataset / "stripes" / "01.png"], "tartan")
    with pytest.raises(ConflictError, match=r"'stripes/01.png' is an example now") as caught:
        editor.undo(removal)
    assert caught.value.conflicts == {"stripes/01.png": ("", "tartan")}
    editor.undo()
    assert everything(place.index) == before
    undone = editor.edits(1)[0].undoes
    with pytest.raises(ConflictError, match=f"Edit {undone} is undone already") as caught:
        editor.undo(undone)
    assert caught.value.conflicts == {}


def test_what_cannot_be_undone_is_refused_with_a_reason(place):
    """An unknown edit, the build of the index, nothing left, and an edit without which no example would remain."""
    editor = place.editor
    with pytest.raises(IndexFileError, match="no edit that can be undone"):
        editor.undo()
    with pytest.raises(IndexFileError, match="no edit 99"):
        editor.undo(99)
    with pytest.raises(IndexFileError, match=r"Edit 1 \(build\) cannot be undone: it made the index"):
        editor.undo(1)
    added = editor.add([place.image(1)], "argyle")
    editor.remove([path for path in read_index(place.index).paths if not path.startswith(".added")])
    with pytest.raises(DatasetError, match="an index needs one"):
        editor.undo(added.edit)
    assert editor.examples_of("argyle") == list(added.changes.added)


def test_a_removed_image_that_was_added_waits_in_the_trash(place):
    """Removing it again, adding it again and undoing in any order never loses its bytes."""
    editor, file = place.editor, place.image(1)
    data = file.read_bytes()
    (path,) = editor.add([file], "argyle").changes.added
    name = path.removeprefix(".added/")
    file.unlink()
    removed = editor.remove([path]).edit
    assert (place.index / "trash" / name).read_bytes() == data
    assert not (place.index / "added" / name).exists()
    editor.undo(removed)
    assert (place.index / "added" / name).read_bytes() == data
    assert list((place.index / "trash").iterdir()) == []
    editor.remove([path])
    editor.add([data], "tartan")  # under another id
    with pytest.raises(ConflictError):
        editor.undo(2)
    assert_consistent(place.index)


def test_an_image_that_vanished_from_the_trash_costs_no_example(place, caplog):
    """The vector is there, so the example comes back, with a warning."""
    (path,) = place.editor.add([place.image(1)], "argyle").changes.added
    place.editor.remove([path])
    shutil.rmtree(place.index / "trash")
    with caplog.at_level(logging.WARNING):
        place.editor.undo()
    assert "its image is missing" in caplog.text
    assert place.editor.examples_of("argyle") == [path]


def test_a_sync_of_a_wrong_folder_is_undone(place, tmp_path):
    """Labels given by hand come back, and so does the dataset folder; a sync then changes nothing."""
    editor = place.editor
    editor.relabel(["stripes/00.png"], "gingham")
    editor.remove(["stripes/01.png"])
    before = everything(place.index)
    other = draw_dataset(tmp_path / "other", ["tartan", "argyle"], count=4, size=16, seed=5)
    report = editor.sync(other, replace=True)
    assert not set(report.indexed) & set(LABELS)
    editor.undo(report.edit)
    assert everything(place.index) == before
    assert not editor.sync().changes.any
    assert editor.examples_of("gingham")[-1] == "stripes/00.png"


def test_after_a_build_with_another_encoder_images_are_encoded_again(place):
    """From their files, in the trash too; a file that changed meanwhile cannot come back."""
    editor = place.editor
    (path,) = editor.add([place.image(1)], "argyle").changes.added
    removal = editor.remove([path, "stripes/00.png"]).edit
    relabeled = editor.remove(["gingham/00.png"]).edit
    (place.dataset / "gingham" / "00.png").unlink()
    other = encoder("other")
    config = offline_config(place.index)
    build_index_from_directory(place.dataset, place.index, config=config, encoder=other)
    editor = IndexEditor(place.index, config, other)
    editor.undo(removal)
    assert editor.examples_of("argyle") == [path]
    assert "stripes/00.png" in editor.examples_of("stripes")
    with pytest.raises(IndexFileError, match=r"their files are missing or changed: gingham/00.png"):
        editor.undo(relabeled)
    read_index(place.index).vectors[0].search_matrix()
    assert_consistent(place.index)


PATHS = [f"{label}/{number:02}.png" for label in LABELS[:3] for number in range(COUNT)]
NAMES = st.sampled_from([*LABELS[:3], "argyle", "\u05e9\u05dc\u05d5\u05dd", "a\udcff", "../x"])
SOME = st.lists(st.sampled_from(PATHS), min_size=1, max_size=3)
EDITS = st.one_of(
    st.tuples(st.just("relabel"), SOME, NAMES),
    st.tuples(st.just("remove"), SOME),
    st.tuples(st.just("remove added"), st.integers(0, 3)),
    st.tuples(st.just("add"), st.integers(0, 3), NAMES),
    st.tuples(st.just("add back"), st.sampled_from(PATHS), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("dismiss"), SOME, st.sampled_from(["label", "outlier", "duplicates"])),
    st.tuples(st.just("restore"), st.integers(0, 2)),
    st.tuples(st.just("move"), st.sampled_from(PATHS), st.sampled_from(LABELS[:3])),
    st.tuples(st.just("sync")),
    st.tuples(st.just("undo"), st.integers(1, 12)),
)


def do(place, kind, *values):
    """Make an edit that may be refused, but only with an error that says why."""
    editor = place.editor
    try:
        match kind:
            case "relabel":
                editor.relabel(*values)
            case "remove":
                editor.remove(*values)
            case "remove added":
                added = [path for path in read_index(place.index).paths if path.startswith(".added/")]
                editor.remove(added[values[0] :][:2])
            case "add":
                editor.add([place.image(values[0])], values[1])
            case "add back":
                editor.add([place.dataset / values[0]], values[1])
            case "rename":
                editor.rename_label(*values)
            case "dismiss":
                editor.dismiss(editor.findings_about(values[1], values[0]))
            case "restore":
                editor.restore(editor.dismissals()[values[0] :][:1])
            case "move":
                if (place.dataset / values[0]).exists():
                    name = f"moved {values[0].replace('/', ' ')}"
                    (place.dataset / values[0]).rename(place.dataset / values[1] / name)
            case "sync":
                editor.sync(place.dataset)
            case "undo":
                editor.undo(values[0])
    except (ConflictError, DatasetError, IndexFileError) as error:
        assert str(error)


@pytest.mark.long
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EDITS, min_size=1, max_size=10))
def test_undoing_everything_gives_the_first_index_again(original, edits):
    """Whatever was edited, synced and undone in between: digests, rows, marks, dismissals and images are the same."""
    with tempfile.TemporaryDirectory() as name:
        place = Place(original, Path(name))
        first = everything(place.index)
        for edit in edits:
            do(place, *edit)
        assert_consistent(place.index)
        place.undo_everything()
        assert everything(place.index) == first
        assert_consistent(place.index)


def test_undoing_a_few_edits_of_each_kind_gives_the_first_index_again(place):
    """The short form of the test above."""
    first = everything(place.index)
    for edit in [
        ("add", 0, "a\udcff"),
        ("rename", "a\udcff", "../x"),
        ("dismiss", ["stripes/00.png"], "label"),
        ("move", "stripes/00.png", "gingham"),
        ("sync",),
        ("remove added", 0),
        ("undo", 3),
        ("rename", "stripes", "gingham"),
    ]:
        do(place, *edit)
    assert len(place.editor.edits()) >= 7
    assert place.undo_everything()
    assert everything(place.index) == first
