"""What is fitted to one encoder is completed for examples that were added later."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.fusion import encoder_fit as module
from lmm_classifier.calibration.fusion.encoder_fit import with_knn_distance
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery, directions
from lmm_classifier.neighbors.novelty import NeighborDensity
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.testing import random_embeddings
from tests.helpers.vector_indexes import DIM, LABELS, write_clusters


@pytest.fixture
def index(tmp_path):
    return Index.open(write_clusters(tmp_path / "index.npz"))


def test_only_missing_knn_distances_are_computed(index):
    """Known distances are used as they are; missing ones equal those of a new fit."""
    expected = NeighborDensity.of(index.gallery).knn_distance
    incomplete = expected.copy()
    incomplete[[0, 70, 149]] = np.nan
    incomplete[5] = 0.123
    completed = with_knn_distance(incomplete, index.gallery)
    assert completed[5] == 0.123
    np.testing.assert_allclose(completed[[0, 70, 149]], expected[[0, 70, 149]], atol=1e-6)
    assert with_knn_distance(expected, index.gallery) is expected


@pytest.mark.parametrize("count", [1, 2, 10, 11, 12, 40])
def test_missing_knn_distances_are_those_by_hand(count):
    """One minus the mean similarity to the ten nearest others, or to all where there are fewer; alone: 1."""
    embeddings = random_embeddings(np.random.default_rng(count), count, 6)
    gallery = Gallery(embeddings, np.zeros(count, np.int64), 1)
    similarities = embeddings.astype(float) @ embeddings.T.astype(float)
    expected = []
    for row in range(count):
        others = sorted(np.delete(similarities[row], row))[-10:]
        expected.append(1 - np.mean(others) if others else 1.0)
    np.testing.assert_allclose(with_knn_distance(np.full(count, np.nan), gallery), expected, atol=1e-6)


def test_many_missing_knn_distances_are_computed_in_blocks(monkeypatch):
    """However small the blocks are; in a very large dataset each gets the mean of its label."""
    embeddings = random_embeddings(np.random.default_rng(0), 30, 6)
    gallery, missing = Gallery(embeddings, np.repeat([0, 1], 15), 2), np.full(30, np.nan)
    expected = with_knn_distance(missing, gallery)
    for name, value in (("_BLOCK", 7), ("_MAX_AT_ONCE", 60), ("_MAX_AT_ONCE", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(f"lmm_classifier.calibration.fusion.encoder_fit.{name}", value)
            np.testing.assert_allclose(with_knn_distance(missing, gallery), expected, atol=1e-6)
    monkeypatch.setattr("lmm_classifier.neighbors.novelty._MOST_PAIRS", 899)
    some = np.where(np.arange(30) % 2, expected, np.nan)
    by_label = with_knn_distance(some, gallery)
    np.testing.assert_array_equal(by_label[1::2], expected[1::2])
    np.testing.assert_allclose(by_label[:15:2], expected[1:15:2].mean())


def test_a_large_index_is_completed_in_blocks():
    """More missing examples than a block holds."""
    embeddings = random_embeddings(np.random.default_rng(1), 300, 6)
    gallery = Gallery(embeddings, np.zeros(300, np.int64), 1)
    completed = with_knn_distance(np.full(300, np.nan), gallery)
    np.testing.assert_allclose(completed, NeighborDensity.of(gallery).knn_distance, atol=1e-6)


def test_norms_in_a_projected_metric_are_stored(tmp_path, monkeypatch):
    """A large index opens without mapping its rows: only those of added or otherwise unknown examples are mapped."""
    monkeypatch.setattr("lmm_classifier.neighbors.metric.PROJECT_FROM", 0)
    path = write_clusters(tmp_path / "index")
    calibrate_index(path)
    config = RetrievalConfig(index_path=path)
    contents = Index.open(path).contents
    norms = contents.calibration["encoder.0.norms"]
    np.testing.assert_array_equal(opened_norms(Retriever.open(config, [Index.open(path)])), norms)
    vectors = np.concatenate([random_embeddings(np.random.default_rng(7), 1, DIM), Index.open(path).vectors()[1:]])
    hashes = ["f" * 64, *contents.hashes[1:]]
    write_index(
        tmp_path / "changed",
        replace(contents, hashes=hashes, vectors=(replace(contents.vectors[0], blocks=lambda: [vectors]),)),
    )
    mapped = []
    monkeypatch.setattr(
        "lmm_classifier.neighbors.metric.directions", lambda rows: mapped.append(len(rows)) or directions(rows)
    )
    changed = Retriever.open(config, [Index.open(tmp_path / "changed")])
    assert mapped == [1]
    np.testing.assert_array_equal(opened_norms(changed)[1:], norms[1:])
    expected = directions(changed.calibration.fits[0].rule.metric.whiten(changed.index.gallery.embeddings[:1]))[1]
    np.testing.assert_array_equal(opened_norms(changed)[:1], expected)
    mapped.clear()
    without_norms = {name: array for name, array in contents.calibration.items() if name != "encoder.0.norms"}
    write_index(tmp_path / "no_norms", replace(contents, calibration=without_norms))
    reopened = Retriever.open(RetrievalConfig(), [Index.open(tmp_path / "no_norms")], former=changed)
    assert mapped == [1]
    np.testing.assert_array_equal(opened_norms(reopened), norms)


def test_norms_that_are_not_used_are_dropped(index):
    """An index below the limit has no projected metric, so a completed calibration holds no norms."""
    fitted, _ = fit_by_leave_one_out(RetrievalConfig(), [index])
    assert replace(fitted.fits[0], norms=np.ones(len(LABELS))).completed(index.gallery).norms is None


def opened_norms(retriever):
    return retriever.encoders[0].metric_gallery.projected.norms


def test_at_most_67_mb_of_similarities_are_held_at_a_time():
    """In blocks of 256 examples, or of fewer where the index is large."""
    assert (module._BLOCK, 4 * module._MAX_AT_ONCE) == (256, 67_108_864)


def test_completed_knn_distances_equal_those_of_a_new_fit():
    """Only the missing ones are computed."""
    embeddings = random_embeddings(np.random.default_rng(0), 40, 8)
    gallery = Gallery(embeddings, np.zeros(40, np.int64), 1)
    whole = NeighborDensity.of(gallery).knn_distance
    some = whole.copy()
    some[[3, 17, 39]] = np.nan
    np.testing.assert_allclose(with_knn_distance(some, gallery), whole, atol=1e-6)
    two = Gallery(embeddings[:2], np.zeros(2, np.int64), 1)
    np.testing.assert_allclose(
        with_knn_distance(np.full(2, np.nan), two), NeighborDensity.of(two).knn_distance, atol=1e-6
    )
