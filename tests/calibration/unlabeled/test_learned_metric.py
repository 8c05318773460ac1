"""Unlabeled images help where examples are few, and the calibration is measured on virtual splits."""

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.unlabeled.learned_metric import LearnedMetric
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderRetriever

LABELS, DIM = 6, 24


def drawn(seed, per_label, noise=1.0):
    """Rows whose labels differ along few axes, and vary much along others, which only many rows tell."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(LABELS, DIM)) * np.linspace(1, 0.2, DIM)
    ids = np.repeat(np.arange(LABELS), per_label)
    rows = centers[ids] + noise * rng.normal(size=(len(ids), DIM)) * np.linspace(0.2, 2, DIM)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), ids


def index_of(seed, per_label, noise=1.0):
    rows, ids = drawn(seed, per_label, noise)
    return Index.from_vectors(rows, [f"{label}" for label in ids])


def accuracy(fit, index, rows, ids):
    scores = EncoderRetriever.open(RetrievalConfig(), index, fit, None).score(rows, [])
    return (scores.log_probabilities.argmax(axis=1) == ids).mean()


def test_accuracy_rises_where_the_scatter_says_much():
    """Over some datasets; leave-one-out of the examples alone is the rival."""
    gains = []
    for seed in range(4):
        index, (rows, ids) = index_of(seed, 4, 0.8), drawn(100 + seed, 60, 0.8)
        learned = LearnedMetric.fit(RetrievalConfig(), [index], [rows])
        assert learned.is_used
        assert learned.images == len(rows)
        base = fit_by_leave_one_out(RetrievalConfig(), [index])[0].fits[0]
        gains.append(accuracy(learned.calibration.fits[0], index, rows, ids) - accuracy(base, index, rows, ids))
    assert np.mean(gains) > 0.03


def test_every_example_is_held_out_once():
    """The predictions are in the order of rows, with what is measured of them."""
    index, (rows, _) = index_of(0, 4), drawn(1, 20)
    learned = LearnedMetric.fit(RetrievalConfig(), [index], [rows])
    assert learned.predictions.rows.tolist() == list(range(len(index)))
    assert learned.accuracy == learned.predictions.correct.mean()
    assert 0 <= learned.calibration_error <= 1
    assert learned.confidence == learned.predictions.confidence.mean()
    assert learned.calibration.confidence_threshold is None  # no guarantee was made
    assert len(learned.calibration.familiarity) == len(index)


def test_a_refused_encoder_leaves_all_as_it_is():
    """Nothing is fitted."""
    index = index_of(0, 4, noise=20.0)
    learned = LearnedMetric.fit(RetrievalConfig(), [index], [drawn(1, 20)[0]])
    assert not learned.is_used
    assert learned.accuracy is None
    assert learned.calibration_error is None
    assert "cross-fitted" in learned.guards[0].refusal


def test_each_of_several_encoders_has_its_own_guard():
    """The one that passes is learned, the other keeps its metric, and both are fused on the same examples."""
    good, bad, new = index_of(0, 5), index_of(1, 5, noise=30.0), drawn(2, 30)[0]
    learned = LearnedMetric.fit(RetrievalConfig(), [good, bad], [new, drawn(3, 30, noise=30.0)[0]])
    assert [bool(guard.refusal) for guard in learned.guards] == [False, True]
    alone = LearnedMetric.fit(RetrievalConfig(), [good], [new])
    first, second = learned.calibration.fits
    assert first.rule.metric.equals(alone.calibration.fits[0].rule.metric)
    base = fit_by_leave_one_out(RetrievalConfig(), [bad])[0].fits[0]
    assert second.rule.metric.equals(base.rule.metric)
    assert len(learned.predictions.rows) == len(good)


def test_the_vectors_are_those_of_each_encoder():
    """One array each."""
    assert isinstance(index_of(0, 4).transform, IdentityTransform)
    with pytest.raises(ValueError, match="zip"):
        LearnedMetric.fit(RetrievalConfig(), [index_of(0, 4)], [])
