"""Editing an index in use: what is taught counts from the next picture on, and outlives the next sync."""

import logging
import shutil
import threading

import numpy as np
import pytest

from lmm_classifier.core.errors import CorpusError, IndexFileError, IndexMismatchError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor, stale
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.pipeline.calibrator import Wish, calibrate
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.corpora import draw_corpus, offline_config


def picture(seed=0, label="argyle"):
    return draw(label, np.random.default_rng(seed), 48)


@pytest.fixture
def corpus(tmp_path):
    return draw_corpus(tmp_path / "corpus", count=6, size=48)


@pytest.fixture
def config(corpus, tmp_path):
    config = offline_config(tmp_path / "index", rerank__enabled="false")
    build_index_from_directory(corpus, tmp_path / "index", config=config)
    return config


@pytest.fixture
def editor(config):
    return IndexEditor(config.retrieval.index_path, config)


def paths(config):
    return ExactIndex.open(config.retrieval.index_path).contents.paths


def test_a_taught_label_is_known_at_once(config):
    """The same classifier, before and after: a stranger becomes a label, with its picture as evidence."""
    classifier = HybridClassifier(config)
    assert classifier.classify(picture(99)).label != "argyle"
    report = classifier.editor().add([picture(seed) for seed in range(6)], "argyle")
    assert (len(report.changes.added), report.changes.encoded, report.pictures) == (6, 6, 30)
    result = classifier.classify(picture(99))
    assert result.candidates[0].label == "argyle"
    place = classifier.index.contents.file_of(result.candidates[0].neighbors[0].example.path)
    assert place.is_file()
    assert place.parent.name == "added"
    classifier.editor().remove(report.changes.added)
    assert "argyle" not in classifier.index.label_names
    assert not place.exists()


def test_another_program_is_followed(config, editor):
    """A running classifier sees what an editor of its own connection does, and answers as a new one would."""
    classifier = HybridClassifier(config)
    editor.relabel(editor.examples_of("stripes"), "lines")
    assert "lines" in classifier.index.label_names
    queries = [picture(seed, label) for seed, label in enumerate(("stripes", "gingham", "argyle"))]
    editor.add([picture(1)], ["argyle"])
    assert classifier.classify_many(queries) == HybridClassifier(config).classify_many(queries)


def test_classifying_while_teaching(config):
    """Threads that classify while another teaches see one version or the next, never half of one."""
    classifier, errors, done = HybridClassifier(config), [], threading.Event()

    def classify():
        try:
            while not done.is_set():
                flow = classifier.flow
                assert len(flow.index.gallery.units) == len(flow.index.examples) == len(flow.index.label_ids)
                classifier.classify(picture(5, "stripes"))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=classify) for _ in range(2)]
    for thread in threads:
        thread.start()
    for seed in range(5):
        classifier.editor().add([picture(seed)], "argyle")
        assert len(classifier.index) == 25 + seed
    done.set()
    for thread in threads:
        thread.join()
    assert not errors


def test_edits_outlive_a_sync(editor, corpus, config, tmp_path):
    """Added pictures stay, removed ones stay out, a corrected label stays until its file is moved."""
    outside = tmp_path / "photo.png"
    picture().save(outside)
    added = editor.add([outside], "argyle").changes.added
    editor.relabel(["stripes/00.png"], "gingham")
    editor.remove(["stripes/01.png"])
    changes = editor.sync(corpus).changes
    assert changes.left_out == ("stripes/01.png",)
    assert not changes.any
    index = ExactIndex.open(config.retrieval.index_path)
    labels = dict(zip(index.contents.paths, index.contents.labels))
    assert labels[added[0]] == "argyle"
    assert added[0].endswith("-photo.png")
    assert labels["stripes/00.png"] == "gingham"
    assert "stripes/01.png" not in labels
    (corpus / "stripes" / "00.png").rename(corpus / "herringbone" / "moved.png")
    editor.sync(corpus)
    index = ExactIndex.open(config.retrieval.index_path)
    assert dict(zip(index.contents.paths, index.contents.labels))["herringbone/moved.png"] == "herringbone"


def test_removed_comes_back_by_add_only(editor, corpus, config):
    """`add` is how a person changes their mind; the vector that was there serves again."""
    editor.remove(["stripes/01.png"])
    (corpus / "stripes" / "01.png").rename(corpus / "stripes" / "renamed.png")
    assert editor.sync(corpus).changes.left_out == ("stripes/renamed.png",)
    report = editor.add([corpus / "stripes" / "renamed.png"], "stripes")
    assert report.changes.added == ("stripes/renamed.png",)
    assert not editor.sync(corpus).changes.any
    assert not list((config.retrieval.index_path / "added").glob("*")) if (
        config.retrieval.index_path / "added").exists() else True  # fmt: skip


def test_one_of_twins_is_removed(editor, corpus, config):
    """Of two files with one content only the named one stays out."""
    shutil.copy(corpus / "stripes" / "00.png", corpus / "stripes" / "twin.png")
    editor.sync(corpus)
    editor.remove(["stripes/twin.png"])
    changes = editor.sync(corpus).changes
    assert changes.left_out == ("stripes/twin.png",)
    assert "stripes/00.png" in paths(config)


def test_an_added_picture_that_comes_into_the_corpus(editor, corpus, config, tmp_path):
    """It is adopted: one example, under its name in the corpus, with the label of its folder."""
    outside = tmp_path / "photo.png"
    picture().save(outside)
    editor.add([outside], "stripes")
    (corpus / "argyle").mkdir()
    outside.rename(corpus / "argyle" / "photo.png")
    changes = editor.sync(corpus).changes
    assert [now for _, now in changes.renamed] == ["argyle/photo.png"]
    assert changes.relabelled == (("argyle/photo.png", "stripes", "argyle"),)
    assert changes.encoded == 0
    assert not any(path.startswith(".added/") for path in paths(config))


def test_what_is_there_is_not_added_twice(editor, corpus, tmp_path):
    """The same content is told of; under another label it is a conflict, and the label stays."""
    twice = editor.add([picture(), picture(), corpus / "stripes" / "00.png"], ["argyle", "argyle", "gingham"])
    assert [one.kind for one in twice.skipped] == ["present", "conflict"]
    assert len(twice.changes.added) == 1
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    refused = editor.add([tmp_path / "bad.jpg", tmp_path / "none.jpg"], "argyle")
    assert [one.kind for one in refused.skipped] == ["unreadable", "corrupt"]
    assert refused.skipped[1].path == str(tmp_path / "bad.jpg")
    assert refused.skipped[1].reason.startswith("damaged picture")
    assert refused.pictures == 25
    added = editor.path / "added"
    assert len(list(added.iterdir())) == 1  # the refused one left nothing


def test_bad_wishes_change_nothing(editor, config):
    """Wrong numbers, empty labels, unknown ids, the last example: said in words, and all is as it was."""
    version = ExactIndex.open(editor.path).contents.version
    with pytest.raises(IndexFileError, match="1 pictures and 2 labels"):
        editor.add([picture()], ["a", "b"])
    with pytest.raises(IndexFileError, match="is no label"):
        editor.add([picture()], "")
    with pytest.raises(IndexFileError, match="is no label"):
        editor.relabel(["stripes/00.png"], "")
    with pytest.raises(CorpusError, match="an index needs one"):
        editor.remove(paths(config))
    assert [one.kind for one in editor.remove(["nix"]).skipped] == ["not_there"]
    with pytest.raises(IndexFileError, match="lmm-classifier import"):
        IndexEditor("index.npz", config)
    with pytest.raises(IndexFileError, match=r"not a durable index"):
        IndexEditor(editor.path.parent, config).add([picture()], "a")
    other = offline_config(editor.path, encoder__backend="siglip")
    with pytest.raises(IndexMismatchError, match="descriptor"):
        IndexEditor(editor.path, other).add([picture()], "a")
    assert ExactIndex.open(editor.path).contents.version == version


def test_what_depends_on_the_corpus_is_said_to_be_stale(editor, corpus, config, caplog):
    """Thresholds are carried over a few edits, with a warning; calibrating again clears it; so does undoing."""
    calibrate(editor.path, config, Wish(keep_known=0.8))
    assert stale(editor.path) == ()
    promised = HybridClassifier(config)
    report = editor.add([picture(3, "stripes")], "stripes")
    assert [one.partition(" was")[0].partition(" is")[0] for one in report.stale] == ["the space", "the calibration"]
    with caplog.at_level(logging.WARNING):
        carried = HybridClassifier(config)
    assert "1 of 25 examples came or changed and 0 went or changed" in caplog.text
    assert carried.policy == promised.policy or carried.retriever.temperature == promised.retriever.temperature
    assert carried.retriever.open_set_threshold == promised.retriever.open_set_threshold
    assert np.isfinite(carried.retriever.familiarity.crowding).all()
    assert carried.classify(picture(4, "stripes")).label == "stripes"
    editor.remove(report.changes.added)
    assert stale(editor.path) == ()
    editor.add([picture(3, "stripes")], "stripes")
    calibrate(editor.path, config, Wish())
    assert stale(editor.path) == ()


def test_a_sync_fits_the_space_again(editor, corpus, config):
    """After a sync the space is that of a new build, and a calibration in the former one is not used."""
    calibrate(editor.path, config, Wish())
    editor.add([picture(1)], "argyle")
    assert not ExactIndex.open(editor.path).contents.space_is_current
    editor.sync(corpus)
    assert ExactIndex.open(editor.path).contents.space_is_current
    assert len(stale(editor.path)) == 1


def test_a_classifier_survives_a_broken_version(config, editor, caplog):
    """If the new version cannot be opened, the former one goes on answering, and it is said."""
    classifier = HybridClassifier(config)
    expected = classifier.classify(picture(5, "stripes"))
    editor.relabel(["stripes/00.png"], "gingham")
    import sqlite3

    for file in (editor.path / "derived").iterdir():
        file.unlink()
    with sqlite3.connect(editor.path / "index.sqlite") as connection:
        connection.execute("UPDATE examples SET crc = 0")
    connection.close()
    assert classifier.classify(picture(5, "stripes")) == expected
    assert "the former version is used" in caplog.text
