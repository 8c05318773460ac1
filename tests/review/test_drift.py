"""Runs test whether their images change: the test is stored with the results, and resumed with the run."""

import shutil

import pytest

from lmm_classifier.core.errors import Cancelled
from lmm_classifier.data.synthetic.catalog import UNKNOWN
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.images import FolderImages
from lmm_classifier.review.reviewer import UPLOAD, Reviewer
from tests.helpers.datasets import draw_dataset, offline_config


def test_a_run_is_tested(review):
    """Each image counts, by its familiarity at the time; a later vote changes nothing."""
    store = review.reviewer.drift.store
    report = store.report(review.run)
    assert report["images"] == 18
    assert store.newest() == report
    tested = {image.name: image.familiarity for image in store.images(review.run)}
    assert tested == {item.name: item.result["familiarity"] for item in review.reviewer.runs.after(review.run)}
    review.classifier.editor().add([review.new / "argyle" / "00.png"], "argyle")
    review.reviewer.revote(review.run)
    assert store.report(review.run) == report


def test_an_interrupted_run_is_the_same_test(review):
    """Cancelled after each batch and resumed by another reviewer, it has the same images and report."""
    run = review.reviewer.runs.create(FolderImages(review.new).describe()).id

    def stop(_):
        raise Cancelled("now")

    for _ in range(2):
        with pytest.raises(Cancelled):
            review.reviewer.resume(run, stop, batch_size=5)
    with Reviewer(review.classifier) as other:
        other.resume(run)
        store = other.drift.store
        assert list(store.images(run)) == list(store.images(review.run))
        assert store.report(run) == store.report(review.run)


@pytest.mark.long
def test_a_batch_that_is_not_stored_is_not_tested(review, monkeypatch):
    """Both are one commit."""
    run = review.reviewer.runs.create(FolderImages(review.new).describe()).id

    def broken(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(review.reviewer.drift.store, "add", broken)
        with pytest.raises(OSError, match="disk"):
            review.reviewer.resume(run)
    assert review.reviewer.runs.run(run).items == 0
    review.reviewer.resume(run)
    assert review.reviewer.drift.store.report(run) == review.reviewer.drift.store.report(review.run)


def test_uploads_are_a_stream_too(review):
    """Another upload of the same bytes is no news; a calibration of the index gives a new comparison."""
    run, store = review.reviewer.runs.create(UPLOAD).id, review.reviewer.drift.store
    files = [(path.name, path.read_bytes()) for path in sorted(review.new.rglob("*.png"))]
    review.reviewer.add_uploads(run, files[:6])
    review.reviewer.add_uploads(run, [(f"again {name}", data) for name, data in files[:6]])
    assert store.report(run)["images"] == 6
    review.reviewer.add_uploads(run, [("broken.png", b"no image")])
    first = {image.reference for image in store.images(run)}
    review.classifier.editor().remove(["stripes/00.png", "gingham/01.png"])
    calibrate_index(review.config.retrieval.index_path, review.config)
    review.reviewer.add_uploads(run, files[6:9])
    assert store.report(run)["images"] == 9
    assert len({image.reference for image in store.images(run)} - first) == 1


@pytest.mark.long
def test_an_alarm_is_counted_and_deleted_with_its_run(built, tmp_path):
    """Images of unknown labels only."""
    draw_dataset(tmp_path / "unknown", UNKNOWN, count=8, seed=3, size=48)
    config = offline_config(shutil.copytree(built / "index", tmp_path / "index"), rerank__enabled="false")
    with HybridClassifier(config) as classifier, Reviewer(classifier) as reviewer:
        run, store = reviewer.classify_folder(tmp_path / "unknown").id, reviewer.drift.store
        assert store.report(run)["is_alarm"]
        assert store.alarms() == 1
        reviewer.delete(run)
        assert store.alarms() == 0
        assert store.report(run) is None
        assert list(store.images(run)) == []
