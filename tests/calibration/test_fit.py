"""Every strategy fits a calibration that agrees with what is later observed."""

import numpy as np
import pytest

from lmm_classifier.calibration.cross_fitting import stratified_folds
from lmm_classifier.calibration.fit import fit_by_groups, fit_by_leave_one_out, fit_on_held_out
from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.vector_indexes import DIM, LABELS, write_clusters, write_vectors

RULES = ["auto", "knn", "top_k_mean", "prototype", "top_k_mean_prototype", "tip", "gda"]


@pytest.mark.parametrize("within_class_metric", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_accurate_and_calibrated_on_clusters(tmp_path, rule, within_class_metric):
    """Accuracy is high, and the mean confidence equals it; a label of one image does no harm."""
    path = write_clusters(tmp_path / "index.npz", [*LABELS, "single"], spread=1.2)
    config = RetrievalConfig(rule=rule, within_class_metric=within_class_metric)
    _, predictions = fit_by_leave_one_out(config, [Index.open(path)])
    assert predictions.correct.mean() > 0.8
    assert predictions.confidence.mean() == pytest.approx(predictions.correct.mean(), abs=0.08)


def test_no_more_examples_are_held_out_than_asked_for(tmp_path):
    """They are a sample without repetition."""
    index = Index.open(write_clusters(tmp_path / "index"))
    calibration, predictions = fit_by_leave_one_out(RetrievalConfig(), [index], most=40)
    assert len(np.unique(predictions.rows)) == len(predictions.rows) == 40
    assert len(calibration.conformity_scores) == 40
    assert len(calibration.fits[0].familiarity.knn_distance) == len(LABELS)


def test_no_example_is_predicted_by_its_own_copy(tmp_path):
    """Thirty examples are there twice, with the same bytes. Only the others are held out, unless most are copies."""
    vectors = clustered_embeddings(np.random.default_rng(0), LABELS, DIM, spread=2.5)
    contents = [f"{row:064x}" for row in range(len(LABELS))]
    for row in range(30):
        vectors[row + 30], contents[row + 30] = vectors[row], contents[row]
    vectors[70], contents[70] = vectors[140], contents[140]  # under another label, it supports nothing
    index = Index.open(write_vectors(tmp_path / "i.npz", LABELS, vectors, contents))
    predictions = fit_by_leave_one_out(RetrievalConfig(), [index])[1]
    assert sorted(predictions.rows) == list(range(60, len(LABELS)))
    doubled = [f"{row // 2:064x}" for row in range(len(LABELS))]
    index = Index.open(write_vectors(tmp_path / "j.npz", LABELS, vectors, doubled))
    assert len(fit_by_leave_one_out(RetrievalConfig(), [index])[1].rows) == len(LABELS)
    half = [f"{row:064x}" for row in range(len(LABELS))]  # 75 of 150 are copies: three of one, then pairs
    half[1] = half[2] = half[0]
    for row in (*range(3, 59, 2), *range(60, 76, 2)):
        half[row + 1] = half[row]
    index = Index.open(write_vectors(tmp_path / "k.npz", LABELS, vectors, half))
    assert sorted(fit_by_leave_one_out(RetrievalConfig(), [index])[1].rows) == [59, *range(76, len(LABELS))]


class Centered:
    """A transform of the index that was fitted to its examples."""

    def __init__(self, mean=0):
        self._mean = mean

    def fit(self, blocks):
        return Centered(np.concatenate(list(blocks())).mean(axis=0))

    @property
    def fitter(self):
        return self

    def transform(self, vectors):
        rows = vectors - self._mean
        return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)


@pytest.mark.parametrize(("count", "in_folds"), [(150, True), (2, True), (1, False)])
def test_examples_are_held_out_by_folds_where_the_transform_was_fitted_to_them(tmp_path, count, in_folds):
    """The predictions come fold by fold. In the encoder's own space each example is left out alone, in order."""
    labels = ["b", *LABELS][:count]
    index = Index.open(write_clusters(tmp_path / "index.npz", labels))
    assert fit_by_leave_one_out(RetrievalConfig(), [index])[1].rows.tolist() == list(range(count))
    index.transform = Centered(index.vectors().mean(axis=0))
    _, predictions = fit_by_leave_one_out(RetrievalConfig(), [index])
    folds = [row for fold in stratified_folds(index.gallery.label_ids) for row in fold]
    assert predictions.rows.tolist() == (folds if in_folds else [0])


@pytest.mark.parametrize(("limit", "searched"), [(150, True), (151, False)])
def test_a_large_index_is_searched_for_the_density(tmp_path, monkeypatch, limit, searched):
    """From the limit on, which is inclusive; the result is the same."""
    index, searches = Index.open(write_clusters(tmp_path / "index.npz")), []
    expected, _ = fit_by_leave_one_out(RetrievalConfig(), [index])
    monkeypatch.setattr("lmm_classifier.calibration.fit.SEARCH_FROM", limit)

    def search_of(embeddings):
        searches.append(len(embeddings))
        return BruteForceSearch(embeddings)

    monkeypatch.setattr("lmm_classifier.calibration.fit.BruteForceSearch", search_of)
    calibration, _ = fit_by_leave_one_out(RetrievalConfig(), [index])
    assert searches == [150] * searched
    np.testing.assert_allclose(
        calibration.fits[0].familiarity.knn_distance, expected.fits[0].familiarity.knn_distance, atol=1e-6
    )


def test_norms_are_known_where_the_metric_is_projected(tmp_path, monkeypatch):
    """They are those of the examples in the chosen metric; elsewhere there are none."""
    index = Index.open(write_clusters(tmp_path / "index.npz"))
    assert fit_by_leave_one_out(RetrievalConfig(), [index])[0].fits[0].norms is None
    monkeypatch.setattr("lmm_classifier.neighbors.metric.PROJECT_FROM", 150)
    calibration, _ = fit_by_leave_one_out(RetrievalConfig(), [index])
    in_metric = calibration.fits[0].rule.metric.whiten(index.gallery.embeddings)
    np.testing.assert_allclose(calibration.fits[0].norms, np.linalg.norm(in_metric, axis=1), rtol=1e-5)


def test_the_text_scores_the_examples_that_were_held_out(tmp_path):
    """The predictions are those of the fitted rule for the sampled rows, each with its own embedding."""
    labels = [f"label {number:02}" for number in range(8) for _ in range(5)]
    index = Index.open(write_clusters(tmp_path / "index.npz", labels, spread=2.5))
    texts = clustered_embeddings(np.random.default_rng(0), labels, DIM, 0.0)[::5]
    calibration, predictions = fit_by_leave_one_out(RetrievalConfig(), [index], 30, [texts])
    rule = calibration.fits[0].rule
    assert rule.text is not None
    scores = [log * temperature for log, temperature in zip(predictions.expert_log_probabilities, rule.temperatures)]
    combined = rule.combine(scores, index.gallery.embeddings[predictions.rows])
    np.testing.assert_allclose(predictions.log_probabilities, log_softmax(combined / rule.temperature), atol=1e-6)


def test_groups_are_held_out_together(tmp_path):
    """Six nearly equal images of each object: one by one all are correct, by object they are as hard as new ones."""
    rng = np.random.default_rng(0)
    objects = clustered_embeddings(rng, ["a"] * 12 + ["b"] * 12, DIM, spread=2.5)
    images = np.repeat(objects, 6, axis=0) + 0.01 * rng.normal(size=(144, DIM))
    images = (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32)
    index = Index.open(write_vectors(tmp_path / "index.npz", ["a"] * 72 + ["b"] * 72, images))
    config = RetrievalConfig(rule="top_k_mean")
    alone = fit_by_leave_one_out(config, [index])[1]
    together = fit_by_groups(config, [index], np.repeat(np.arange(24), 6))[1]
    assert alone.correct.mean() == 1
    assert together.correct.mean() < 0.95
    np.testing.assert_array_equal(np.sort(together.rows), np.arange(144))


def test_other_images_replace_leave_one_out(tmp_path):
    """The predictions are of those images, and the familiarity threshold accepts as many of them as asked."""
    vectors = clustered_embeddings(np.random.default_rng(0), LABELS * 2, DIM, 1.2)
    index = Index.open(write_vectors(tmp_path / "index.npz", LABELS, vectors[: len(LABELS)]))
    label_ids = np.array([ord(label) - ord("a") for label in LABELS])
    calibration, predictions = fit_on_held_out(RetrievalConfig(), [index], [vectors[len(LABELS) :]], label_ids)
    np.testing.assert_array_equal(predictions.label_ids, label_ids)
    assert predictions.correct.mean() > 0.8
    assert (predictions.familiarity >= calibration.familiarity_threshold(0.9)).mean() == pytest.approx(0.9, abs=0.02)


def test_the_conformity_scores_are_the_sorted_probabilities_of_the_true_labels(tmp_path):
    """Conformal sets rest on them."""
    index = Index.open(write_clusters(tmp_path / "index.npz", spread=1.2))
    calibration, predictions = fit_by_leave_one_out(RetrievalConfig(), [index])
    np.testing.assert_array_equal(calibration.conformity_scores, np.sort(predictions.true_label_probabilities))
