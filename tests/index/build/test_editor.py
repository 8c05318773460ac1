"""Editing an index in use: an edit has an effect on the next image, and survives the next sync."""

import io
import logging
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import (
    Cancelled,
    ConflictError,
    DatasetError,
    ImageInputError,
    IndexFileError,
    IndexMismatchError,
)
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.index.staleness import stale_parts
from lmm_classifier.index.storage.editing.stored_rows import opened_rows
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.datasets import LABELS, offline_config


def image(seed=0, label="argyle"):
    return draw(label, np.random.default_rng(seed), 48)


def stale(path):
    """The stale parts, found by a few numbers as each edit does, and by comparing all examples."""
    parts = stale_parts(read_index(path))
    with opened_rows(path) as rows:
        assert rows.stale_parts() == parts
    return parts


def paths(config):
    return Index.open(config.retrieval.index_path).contents.paths


def test_an_added_label_is_known_at_once(config):
    """The same classifier returns it, with the added image as a supporting neighbor."""
    classifier = HybridClassifier(config)
    assert classifier.classify(image(99)).label != "argyle"
    report = classifier.editor().add([image(seed) for seed in range(6)], "argyle")
    assert (len(report.changes.added), report.changes.encoded, report.images) == (6, 6, 30)
    result = classifier.classify(image(99))
    assert result.candidates[0].label == "argyle"
    file = classifier.index.contents.file_of(result.candidates[0].neighbors[0].example.path)
    assert file.is_file()
    assert file.parent.name == "added"
    classifier.editor().remove(report.changes.added)
    assert "argyle" not in classifier.index.label_names
    assert not file.exists()


def test_a_classifier_sees_the_edits_of_other_programs(config, editor):
    """It returns the results of a new classifier."""
    classifier = HybridClassifier(config)
    editor.relabel(editor.examples_of("stripes"), "lines")
    assert "lines" in classifier.index.label_names
    queries = [image(seed, label) for seed, label in enumerate(("stripes", "gingham", "argyle"))]
    editor.add([image(1)], ["argyle"])
    assert classifier.classify_many(queries) == HybridClassifier(config).classify_many(queries)


@pytest.mark.long
def test_threads_see_complete_versions_while_another_adds_images(config):
    """Each result is of one version."""
    classifier, errors, done = HybridClassifier(config), [], threading.Event()

    def classify():
        try:
            while not done.is_set():
                index = classifier.index
                assert len(index.gallery.embeddings) == len(index.examples) == len(index.label_ids)
                classifier.classify(image(5, "stripes"))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=classify) for _ in range(2)]
    for thread in threads:
        thread.start()
    for seed in range(5):
        classifier.editor().add([image(seed)], "argyle")
        assert len(classifier.index) == 25 + seed
    done.set()
    for thread in threads:
        thread.join()
    assert not errors


def test_edits_survive_a_sync(editor, dataset, config, tmp_path):
    """Added images stay, removed ones stay out, and a corrected label stays until its file is moved."""
    outside = tmp_path / "photo.png"
    image().save(outside)
    added = editor.add([outside], "argyle").changes.added
    editor.relabel(["stripes/00.png"], "gingham")
    editor.remove(["stripes/01.png"])
    changes = editor.sync(dataset).changes
    assert changes.left_out == ("stripes/01.png",)
    assert not changes.any
    index = Index.open(config.retrieval.index_path)
    labels = dict(zip(index.contents.paths, index.contents.labels))
    assert labels[added[0]] == "argyle"
    assert added[0].endswith("-photo.png")
    assert labels["stripes/00.png"] == "gingham"
    assert "stripes/01.png" not in labels
    (dataset / "stripes" / "00.png").rename(dataset / "herringbone" / "moved.png")
    editor.sync(dataset)
    index = Index.open(config.retrieval.index_path)
    assert dict(zip(index.contents.paths, index.contents.labels))["herringbone/moved.png"] == "herringbone"


def test_an_index_inside_the_dataset_keeps_what_was_taught_by_hand(dataset, tmp_path, monkeypatch):
    """`cd images; build .` puts the index there. Its own images are never found as those of a label `index`."""
    monkeypatch.chdir(dataset)
    config = offline_config(Path("index"))
    build_index_from_directory(".", "index", config=config)
    editor = IndexEditor("index", config)
    added = editor.add([image()], "argyle").changes.added
    (Path("index") / "set-aside").mkdir()
    image(3).save("index/set-aside/lost.png")
    added += editor.add(["index/set-aside/lost.png"], "argyle").changes.added
    assert all(path.startswith(".added/") for path in added)
    report = editor.sync()
    assert (report.total, report.changes.any, report.failed) == (26, False, ())
    assert sorted(editor.examples_of("argyle")) == sorted(added)
    assert set(report.indexed) == {*LABELS, "argyle"}
    assert [file.kind for file in report.skipped] == ["own_files"]


def test_only_add_brings_a_removed_image_back(editor, dataset, config):
    """Its former vector is used again."""
    editor.remove(["stripes/01.png"])
    (dataset / "stripes" / "01.png").rename(dataset / "stripes" / "renamed.png")
    assert editor.sync(dataset).changes.left_out == ("stripes/renamed.png",)
    report = editor.add([dataset / "stripes" / "renamed.png"], "stripes")
    assert report.changes.added == ("stripes/renamed.png",)
    assert not editor.sync(dataset).changes.any
    assert not list((config.retrieval.index_path / "added").glob("*"))


def test_of_two_equal_files_only_the_named_one_is_removed(editor, dataset, config):
    """The other one stays."""
    shutil.copy(dataset / "stripes" / "00.png", dataset / "stripes" / "twin.png")
    editor.sync(dataset)
    editor.remove(["stripes/twin.png"])
    changes = editor.sync(dataset).changes
    assert changes.left_out == ("stripes/twin.png",)
    assert "stripes/00.png" in paths(config)


def test_an_added_image_that_moves_into_the_dataset_becomes_a_normal_example(editor, dataset, config, tmp_path):
    """It has its name in the dataset and the label of its folder."""
    outside = tmp_path / "photo.png"
    image().save(outside)
    editor.add([outside], "stripes")
    (dataset / "argyle").mkdir()
    outside.rename(dataset / "argyle" / "photo.png")
    changes = editor.sync(dataset).changes
    assert [current for _, current in changes.renamed] == ["argyle/photo.png"]
    assert changes.relabeled == (("argyle/photo.png", "stripes", "argyle"),)
    assert changes.encoded == 0
    assert not any(path.startswith(".added/") for path in paths(config))


def test_an_image_is_not_added_twice(editor, dataset, tmp_path):
    """It is reported as present, or as a conflict if the label differs. The label stays."""
    twice = editor.add([image(), image(), dataset / "stripes" / "00.png"], ["argyle", "argyle", "gingham"])
    assert [image.kind for image in twice.skipped] == ["present", "conflict"]
    assert len(twice.changes.added) == 1
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    report = editor.add([tmp_path / "bad.jpg", tmp_path / "none.jpg"], "argyle")
    assert [image.kind for image in report.skipped] == ["unreadable", "corrupt"]
    assert report.skipped[1].path == str(tmp_path / "bad.jpg")
    assert report.skipped[1].reason.startswith("damaged image")
    assert report.images == 25
    added = editor.path / "added"
    assert len(list(added.iterdir())) == 1  # the bad image left no file


def test_examples_are_added_from_all_that_classify_takes(editor, tmp_path):
    """One that cannot be decoded is skipped with its reason, and costs no other image."""
    image(1).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    broken, closed = Image.open(io.BytesIO(data[:200])), image(2)
    closed.close()
    given = [data, np.asarray(image(3)), image(4), broken, closed, Image.new("RGB", (0, 3)), b"no image", "no/such.png"]
    report = editor.add(given, "argyle")
    assert [path[-9:] for path in sorted(report.changes.added)] == ["image.png"] * 3
    kinds = [(file.path, file.kind) for file in report.skipped]
    assert sorted(kinds) == [
        ("image 3", "corrupt"),
        ("image 4", "corrupt"),
        ("image 5", "corrupt"),
        ("image 6", "unsupported"),
        ("no/such.png", "unreadable"),
    ]


@pytest.mark.parametrize("given", ["a.png", b"bytes", None, [None]], ids=repr)
def test_what_cannot_be_several_images_is_refused(editor, given):
    """A single path is not taken apart into its letters."""
    with pytest.raises(ImageInputError, match="Expected"):
        editor.add(given, "argyle")


def test_a_single_id_is_not_taken_apart_into_its_letters(editor):
    """It would be as many examples that are not there."""
    for edit in (editor.remove, lambda ids: editor.relabel(ids, "argyle")):
        with pytest.raises(DatasetError, match="Put it in a list"):
            edit("stripes/0.png")


def test_adding_can_be_cancelled(editor, dataset):
    """After the callback raised, no example is added; adding again succeeds."""

    def cancel(progress):
        assert (progress.done, progress.total) == (2, 2)
        raise Cancelled

    with pytest.raises(Cancelled):
        editor.add([image(1), image(2)], "argyle", cancel)
    assert editor.examples_of("argyle") == []
    report = editor.add([image(1), image(2)], "argyle")
    assert len(report.changes.added) == 2
    assert len(editor.examples_of("argyle")) == 2


def test_impossible_edits_change_nothing(editor, config):
    """Wrong numbers, empty labels, unknown ids, and the removal of all examples."""
    version = Index.open(editor.path).contents.version
    with pytest.raises(IndexFileError, match="1 images and 2 labels"):
        editor.add([image()], ["a", "b"])
    with pytest.raises(DatasetError, match="is no label"):
        editor.add([image()], "")
    with pytest.raises(DatasetError, match="3 is no label"):
        editor.add([image()], 3)
    with pytest.raises(DatasetError, match="is no label"):
        editor.relabel(["stripes/00.png"], "")
    with pytest.raises(DatasetError, match="an index needs one"):
        editor.remove(paths(config))
    assert [image.kind for image in editor.remove(["nix"]).skipped] == ["not_there"]
    with pytest.raises(IndexFileError, match="lmm-classifier import"):
        IndexEditor("index.npz", config)
    with pytest.raises(IndexFileError, match=r"not a durable index"):
        IndexEditor(editor.path.parent, config).add([image()], "a")
    siglip = offline_config(editor.path, encoder__backend="siglip")
    with pytest.raises(IndexMismatchError, match="descriptor"):
        IndexEditor(editor.path, siglip).add([image()], "a")
    assert Index.open(editor.path).contents.version == version


def test_parts_that_depend_on_the_examples_are_reported_as_stale(editor, dataset, config, caplog):
    """After a few edits thresholds are still used, with a warning. Calibrating again or undoing the edits ends it."""
    calibrate_index(editor.path, config, CalibrationRequest(keep_known=0.8))
    assert stale(editor.path) == ()
    guaranteed = HybridClassifier(config)
    report = editor.add([image(3, "stripes")], "stripes")
    assert [part.partition(":")[0] for part in report.stale] == ["transform", "calibration"]
    with caplog.at_level(logging.WARNING):
        carried = HybridClassifier(config)
    assert "1 of 25 examples were added or changed and 0 were removed or changed" in caplog.text
    assert carried.thresholds == guaranteed.thresholds
    (carried_fit,), (fit,) = carried.retriever.calibration.fits, guaranteed.retriever.calibration.fits
    assert carried_fit.rule.temperature == fit.rule.temperature
    assert np.isfinite(carried.retriever.calibration.fits[0].familiarity.knn_distance).all()
    assert carried.classify(image(4, "stripes")).label == "stripes"
    editor.remove(report.changes.added)
    assert stale(editor.path) == ()
    editor.add([image(3, "stripes")], "stripes")
    calibrate_index(editor.path, config, CalibrationRequest())
    assert stale(editor.path) == ()


def test_a_sync_fits_the_transform_again(editor, dataset, config):
    """It is that of a new build, so a calibration with the former one is not used."""
    calibrate_index(editor.path, config, CalibrationRequest())
    editor.add([image(1)], "argyle")
    assert not Index.open(editor.path).contents.transforms_are_current
    editor.sync(dataset)
    assert Index.open(editor.path).contents.transforms_are_current
    assert len(stale(editor.path)) == 1


def test_a_classifier_uses_the_former_version_if_the_new_one_is_broken(config, editor, caplog):
    """With a warning."""
    classifier = HybridClassifier(config)
    expected = classifier.classify(image(5, "stripes"))
    editor.relabel(["stripes/00.png"], "gingham")
    import sqlite3

    for file in (editor.path / "derived").iterdir():
        file.unlink()
    with sqlite3.connect(editor.path / "index.sqlite") as connection:
        connection.execute("UPDATE examples SET crc = 0")
    connection.close()
    assert classifier.classify(image(5, "stripes")) == expected
    assert "Answers come from the former version 1 with 24 examples" in caplog.text


def test_an_edit_that_expects_other_labels_is_refused_whole(editor):
    """Two people never overwrite each other unseen: each difference is named, with both labels."""
    editor.relabel(["stripes/00.png"], "gingham")
    editor.remove(["stripes/01.png"])
    version = read_index(editor.path).version
    expect = {"stripes/00.png": "stripes", "stripes/01.png": "stripes", "stripes/02.png": "stripes"}
    for edit in (
        lambda: editor.relabel(list(expect), "tartan", expect=expect),
        lambda: editor.remove(["stripes/02.png"], expect=expect),
    ):
        with pytest.raises(ConflictError, match="2 examples have changed since") as caught:
            edit()
        assert caught.value.conflicts == {
            "stripes/00.png": ("stripes", "gingham"),
            "stripes/01.png": ("stripes", None),
        }
        assert pickle.loads(pickle.dumps(caught.value)).conflicts == caught.value.conflicts
    assert read_index(editor.path).version == version
    report = editor.relabel(["stripes/00.png"], "cafe\u0301", expect={"stripes/00.png": "gingham"})
    assert (
        editor.relabel(["stripes/00.png"], "stripes", expect={"stripes/00.png": "cafe\u0301"}).edit == report.edit + 1
    )


def test_of_two_people_who_relabel_at_once_each_conflict_is_named(editor, config):
    """No update is lost: each example has the label of the one whose edit was accepted."""
    accepted, refused = [], []

    def relabel(name):
        own = IndexEditor(editor.path, config)
        for number in range(6):
            path = f"stripes/{number:02}.png"
            try:
                own.relabel([path], name, expect={path: "stripes"})
                accepted.append((path, name))
            except ConflictError as error:
                refused.append((path, error.conflicts[path][1]))

    people = [threading.Thread(target=relabel, args=(name,)) for name in ("argyle", "tartan")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    contents = read_index(editor.path)
    labels = dict(zip(contents.paths, contents.labels))
    assert sorted(accepted) == sorted((path, label) for path, label in labels.items() if path.startswith("stripes/"))
    assert sorted(refused) == sorted(accepted)


def test_a_label_is_renamed_or_merged_in_one_edit(editor, dataset):
    """Nothing is encoded, a sync keeps it, and a label that no example has is refused."""
    report = editor.rename_label("stripes", "lines", note="why", origin="me")
    assert len(report.changes.relabeled) == 6
    assert not editor.sync(dataset).changes.any
    assert len(editor.rename_label("lines", "gingham").changes.relabeled) == 6
    assert len(editor.examples_of("gingham")) == 12
    assert editor.rename_label("gingham", "gingham").edit is None
    with pytest.raises(DatasetError, match="No example has the label 'lines'"):
        editor.rename_label("lines", "x")
    with pytest.raises(DatasetError, match="cannot be told from unknown_label"):
        editor.rename_label("gingham", "Unknown")
    edit = editor.edits()[1]
    assert (edit.kind, edit.note, edit.origin, len(edit.changes.relabeled)) == ("rename_label", "why", "me", 6)


def test_each_way_to_edit_is_one_edit_of_the_journal(editor, dataset, tmp_path, config):
    """Many images are one edit, and what changes nothing is none."""
    assert [(edit.kind, edit.changes.unchanged) for edit in editor.edits()] == [("build", 24)]
    numbers = [
        editor.add([image(1), image(2)], "argyle").edit,
        editor.relabel(["stripes/00.png", "stripes/01.png"], "argyle").edit,
        editor.remove(["gingham/00.png", "gingham/01.png"]).edit,
    ]
    nothing = [
        editor.add([image(1)], "argyle"),
        editor.relabel(["stripes/00.png"], "argyle"),
        editor.remove(["none"]),
        editor.dismiss([]),
        editor.restore([]),
        editor.sync(),
    ]
    assert [report.edit for report in nothing] == [None] * 6
    draw("tartan", np.random.default_rng(3), 48).save(dataset / "stripes" / "new.png")
    (dataset / "stripes" / "02.png").rename(dataset / "gingham" / "moved.png")
    numbers.append(editor.sync(origin="a job").edit)
    assert numbers == [2, 3, 4, 5]
    sync, remove, relabel, add, _ = editor.edits()
    assert (sync.kind, sync.origin, sync.changes.added) == ("sync", "a job", ("stripes/new.png",))
    assert sync.changes.renamed == (("stripes/02.png", "gingham/moved.png"),)
    assert sync.changes.relabeled == (("gingham/moved.png", "stripes", "gingham"),)
    assert remove.changes.removed == ("gingham/00.png", "gingham/01.png")
    assert len(relabel.changes.relabeled) == len(add.changes.added) == 2
    write_index(tmp_path / "x.npz", read_index(editor.path))
    write_index(tmp_path / "copy", read_index(tmp_path / "x.npz"))
    assert [edit.kind for edit in IndexEditor(tmp_path / "copy", config).edits()] == ["import"]


def test_dismissed_findings_outlive_a_sync_new_names_and_an_export(editor, dataset, tmp_path):
    """They follow the content of the images, and the name of a label that is renamed."""
    finding = editor.findings_about("label", ["stripes/00.png"])
    copies = editor.findings_about("duplicates", ["stripes/00.png", "gingham/00.png"])
    report = editor.dismiss([*finding, *copies], note="seen")
    assert report.changes.dismissed == 2
    (dataset / "stripes" / "00.png").rename(dataset / "stripes" / "renamed.png")
    editor.sync(dataset)
    editor.rename_label("stripes", "lines")
    again = [*editor.findings_about("label", ["stripes/renamed.png"])]
    again += editor.findings_about("duplicates", ["stripes/renamed.png", "gingham/00.png"])
    assert {dismissal.id for dismissal in editor.dismissals()} == {dismissal.id for dismissal in again}
    write_index(tmp_path / "x.npz", read_index(editor.path))
    write_index(tmp_path / "copy", read_index(tmp_path / "x.npz"))
    assert list(read_index(tmp_path / "copy").dismissals) == editor.dismissals()
    assert editor.restore(again).changes.restored == 2
    assert editor.dismissals() == []
    with pytest.raises(DatasetError, match="is no example"):
        editor.findings_about("label", ["stripes/00.png"])
