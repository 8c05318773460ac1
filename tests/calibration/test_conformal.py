"""Conformal prediction sets contain the true label as often as guaranteed, and agree with MAPIE."""

import numpy as np
import pytest

pytest.importorskip("mapie", reason="MAPIE is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from lmm_classifier.calibration.conformal import conformal_threshold, prediction_set
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.vector_indexes import DIM, LABELS, write_vectors


class GivenProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier that returns its input as probabilities."""

    def fit(self, x, y):
        self.classes_ = np.arange(4)
        self.n_features_in_ = 4
        return self

    def predict_proba(self, x):
        return np.asarray(x)

    def predict(self, x):
        return np.asarray(x).argmax(axis=1)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3, 0.61])
@pytest.mark.parametrize("count", [30, 31, 90])
def test_the_threshold_is_the_quantile_of_mapie(alpha, count):
    """The least score of the examples themselves that MAPIE's sets accept, which is one minus its quantile."""
    rng = np.random.default_rng(count)
    probabilities = rng.dirichlet(np.full(4, 0.6), count)
    truth = np.array([rng.choice(4, p=row) for row in probabilities])
    mapie = SplitConformalClassifier(GivenProbabilities().fit(None, None), confidence_level=1 - alpha, prefit=True)
    mapie.conformalize(probabilities, truth)
    scores = np.sort(probabilities[np.arange(count), truth])
    rest = (1 - scores) / 3
    accepted = mapie.predict_set(np.stack([scores, rest, rest, rest], axis=1))[1][:, 0, 0]
    assert conformal_threshold(scores, alpha) == scores[accepted].min()


@pytest.mark.parametrize("count", [1, 4, 9, 10])
def test_over_all_ranks_of_a_new_image_the_sets_miss_as_seldom_as_alpha_says(count):
    """A new image is equally likely to come at each of n + 1 ranks: the misses among them are counted."""
    scores = np.arange(1.0, count + 1)
    for numerator in range(1, 20):
        alpha = numerator / 20
        threshold = conformal_threshold(scores, alpha)
        missed = sum(rank + 0.5 < threshold for rank in range(count + 1)) / (count + 1)
        assert missed <= alpha + 1e-9
        assert missed + 1 / (count + 1) > alpha - 1e-9  # one rank more is allowed


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_sets_equal_those_of_mapie(alpha):
    """MAPIE's split conformal sets with the score 1 - p, on the same probabilities."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.6), 160)
    truth = np.array([rng.choice(4, p=row) for row in probabilities])
    scores = np.sort(probabilities[np.arange(90), truth[:90]])
    mapie = SplitConformalClassifier(GivenProbabilities().fit(None, None), confidence_level=1 - alpha, prefit=True)
    mapie.conformalize(probabilities[:90], truth[:90])
    expected = mapie.predict_set(probabilities[90:])[1][:, :, 0]
    np.testing.assert_array_equal(probabilities[90:] >= conformal_threshold(scores, alpha) - 1e-12, expected)


def test_sets_contain_the_true_label_as_often_as_guaranteed(tmp_path):
    """Over six datasets: 90% of the sets contain the true label, and they stay small."""
    covered, sizes = [], []
    truth = [ord(label) - ord("a") for label in LABELS]
    for seed in range(6):
        vectors = clustered_embeddings(np.random.default_rng(seed), LABELS * 2, DIM, 2.0)
        index = Index.open(write_vectors(tmp_path / f"{seed}.npz", LABELS, vectors[: len(LABELS)]))
        calibration, _ = fit_by_leave_one_out(RetrievalConfig(), [index])
        threshold = conformal_threshold(calibration.conformity_scores, 0.1)
        scores = Retriever.open(RetrievalConfig(), [index]).score(QueryVectors.given(vectors[len(LABELS) :]))
        probabilities = scores.probabilities
        covered.append((probabilities[np.arange(len(LABELS)), truth] >= threshold).mean())
        sizes.append((probabilities >= threshold).sum(axis=1).mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.04)
    assert 1 <= np.mean(sizes) < 2.5


def test_too_few_examples_give_the_set_of_all_labels():
    """With n examples no alpha below 1 / (n + 1) can be guaranteed otherwise."""
    assert conformal_threshold(np.array([0.2, 0.9]), 0.3) == 0.0
    assert conformal_threshold(np.array([0.2, 0.9]), 0.34) == 0.2


def test_a_set_lists_labels_by_probability_and_is_never_empty():
    """The threshold is inclusive; the most likely label is there even where it does not reach it."""
    probabilities, order = np.array([0.2, 0.5, 0.3]), np.array([1, 2, 0])
    assert prediction_set(probabilities, order, 0.3, "abc") == ("b", "c")
    assert prediction_set(probabilities, order, 0.9, "abc") == ("b",)
    assert prediction_set(probabilities, order, 0.0, "abc") == ("b", "c", "a")
