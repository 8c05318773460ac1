"""A fit to sparse scores is that to dense ones, and sees more examples where there are many labels."""

import numpy as np
import pytest

from lmm_classifier.calibration import fit as fitting
from lmm_classifier.calibration import rule_fitting
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.predictions import SparsePredictions
from lmm_classifier.calibration.sparse import sparse_fit
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.testing import clustered_embeddings, random_embeddings

LABELS = 60


@pytest.fixture(scope="module")
def index():
    """Return an index of 60 labels, some of which are close to each other."""
    names = [f"label {number:02}" for number in range(LABELS) for _ in range(8)]
    return Index.from_vectors(clustered_embeddings(np.random.default_rng(0), names, 24, spread=1.2), names)


@pytest.fixture
def small_memory(monkeypatch):
    """Let dense scores of 50 examples fit in memory."""
    monkeypatch.setattr(rule_fitting, "MAX_SCORES", 50 * LABELS)


def test_it_is_that_to_dense_scores(index, small_memory, monkeypatch):
    """Temperatures, confidences, familiarity and conformity scores agree."""
    sparse, predictions = fit_by_leave_one_out(RetrievalConfig(), [index], sparse=True)
    assert isinstance(predictions, SparsePredictions)
    monkeypatch.setattr(rule_fitting, "MAX_SCORES", 10**9)
    dense, exact = fit_by_leave_one_out(RetrievalConfig(), [index], sparse=True)
    assert not isinstance(exact, SparsePredictions)
    np.testing.assert_array_equal(predictions.rows, exact.rows)
    rule, expected = sparse.fits[0].rule, dense.fits[0].rule
    np.testing.assert_allclose(rule.temperatures, expected.temperatures, rtol=2e-3)
    assert rule.temperature == pytest.approx(expected.temperature, rel=2e-3)
    np.testing.assert_allclose(predictions.confidence, exact.confidence, atol=2e-3)
    np.testing.assert_array_equal(predictions.correct, exact.correct)
    np.testing.assert_allclose(sparse.conformity_scores, dense.conformity_scores, atol=2e-3)
    np.testing.assert_allclose(predictions.familiarity, exact.familiarity, atol=1e-6)
    assert 0.5 < sparse.held_out.accuracy < 1


def test_more_examples_are_seen(index, small_memory):
    """Without sparse scores memory allows 50 examples, with them all 480."""
    dense = fit_by_leave_one_out(RetrievalConfig(), [index])[0]
    sparse = fit_by_leave_one_out(RetrievalConfig(), [index], sparse=True)[0]
    assert (len(dense.held_out), len(sparse.held_out)) == (50, 480)


def test_temperatures_are_fitted_on_a_part(index, small_memory, monkeypatch):
    """Some hundred examples give nearly the temperatures of all."""
    every = fit_by_leave_one_out(RetrievalConfig(), [index], sparse=True)[0].fits[0].rule
    monkeypatch.setattr(sparse_fit, "_PILOT", 200)
    some = fit_by_leave_one_out(RetrievalConfig(), [index], sparse=True)[0].fits[0].rule
    assert some.temperatures != every.temperatures
    np.testing.assert_allclose(some.temperatures, every.temperatures, rtol=0.25)


def test_a_fixed_temperature_is_used_as_it_is(index, small_memory):
    """No temperature is fitted where the user set one."""
    config = RetrievalConfig(rule="top_k_mean", temperature=0.1)
    calibration, predictions = fit_by_leave_one_out(config, [index], sparse=True)
    assert isinstance(predictions, SparsePredictions)
    assert (calibration.fits[0].rule.temperatures, calibration.fits[0].rule.temperature) == ((0.1,), 1.0)


def test_names_of_labels_join_where_they_help(index, small_memory):
    """Texts near to their labels get a weight; random ones do not."""
    gallery = index.gallery
    means = gallery.means / np.linalg.norm(gallery.means, axis=1, keepdims=True)
    good = fit_by_leave_one_out(RetrievalConfig(), [index], texts=[means.astype(np.float32)], sparse=True)[0]
    noise = random_embeddings(np.random.default_rng(1), LABELS, 24)
    poor = fit_by_leave_one_out(RetrievalConfig(), [index], texts=[noise], sparse=True)[0]
    assert good.fits[0].rule.text is not None
    assert poor.fits[0].rule.text is None


def test_several_encoders_stay_dense(index, small_memory):
    """Their fusion needs the probabilities of all labels."""
    predictions = fit_by_leave_one_out(RetrievalConfig(), [index, index], sparse=True)[1]
    assert predictions.log_probabilities.shape == (50, LABELS)
    assert fitting.densely(480, LABELS) == 50
