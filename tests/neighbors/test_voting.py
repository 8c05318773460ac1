"""The voting rules agree with loops, also in edge cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from lmm_classifier.core.numerics import softmax
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery, rows_by_label
from lmm_classifier.neighbors.metric import fit_scatter, gallery_in_metric
from lmm_classifier.neighbors.voting import (
    GaussianDiscriminant,
    Prototype,
    TopKMean,
    TopKMeanPrototype,
    WeightedKnn,
    make_rule,
    product,
)
from lmm_classifier.testing import random_embeddings


def compare(matrix, queries, label_ids=None, left_out=()):
    label_ids = np.zeros(len(matrix), np.int64) if label_ids is None else label_ids
    return Gallery(matrix, label_ids, int(label_ids.max()) + 1).compare(
        queries, [np.array(rows, int) for rows in left_out]
    )


def only_expert(config, label_ids, labels):
    (expert,) = make_rule(config, label_ids, labels).experts
    return expert


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    matrix, queries = random_embeddings(rng, 40, 8), random_embeddings(rng, 6, 8)
    label_ids = rng.integers(0, 4, 40)
    return matrix, label_ids, queries


def test_weighted_knn_gives_the_fraction_of_exponential_weights(data):
    """Probabilities equal those of a plain loop over the k nearest."""
    matrix, label_ids, queries = data
    rule = WeightedKnn(label_ids, 4, k=7, temperature=0.1)
    probabilities = softmax(rule.scores(compare(matrix, queries)), 0.1)
    for query, row in zip(queries, probabilities):
        cosines = matrix.astype(float) @ query.astype(float)
        weights = np.zeros(4)
        for neighbor in np.argsort(-cosines)[:7]:
            weights[label_ids[neighbor]] += np.exp(cosines[neighbor] / 0.1)
        np.testing.assert_allclose(row, weights / weights.sum(), atol=1e-6)


def test_weighted_knn_is_that_of_scikit_learn(data):
    """`KNeighborsClassifier` with the same weights gives the same probabilities."""
    matrix, label_ids, queries = data

    def weights(distances):
        return np.exp((1 - distances) / 0.05)

    reference = KNeighborsClassifier(9, weights=weights, metric="cosine").fit(matrix, label_ids)
    rule = only_expert(RetrievalConfig(rule="knn", k=9), label_ids, 4)
    found = softmax(rule.scores(compare(matrix, queries)), rule.temperature)
    np.testing.assert_allclose(found, reference.predict_proba(queries), atol=1e-4)


def test_the_prototype_is_the_nearest_centroid_of_scikit_learn(data):
    """For centroids of norm 1 the largest cosine is the least distance."""
    matrix, label_ids, queries = data
    scores = Prototype(0.05).scores(compare(matrix, queries, label_ids))
    reference = NearestCentroid().fit(matrix, label_ids)
    centroids = reference.centroids_ / np.linalg.norm(reference.centroids_, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, queries @ centroids.T, atol=1e-6)


def test_the_gaussian_discriminant_is_that_of_scikit_learn():
    """In the within-class metric, almost without shrinkage: the probabilities of LDA with equal priors."""
    rng = np.random.default_rng(1)
    matrix, queries, label_ids = random_embeddings(rng, 300, 6), random_embeddings(rng, 20, 6), np.arange(300) % 3
    matrix[:, 0] += label_ids
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    metric = fit_scatter(matrix, label_ids, 3, False).metric(1e-6)
    in_metric = gallery_in_metric(metric, Gallery(matrix, label_ids, 3))
    found = softmax(GaussianDiscriminant(1.0).scores(in_metric.compare(metric.whiten(queries))), 1.0)
    reference = LinearDiscriminantAnalysis("lsqr", priors=[1 / 3] * 3).fit(matrix.astype(float), label_ids)
    # scikit-learn divides the scatter by N, not by N - C
    distances = -2 * np.log(found) * 300 / 297
    expected = -2 * np.log(reference.predict_proba(queries))
    np.testing.assert_allclose(distances - distances[:, :1], expected - expected[:, :1], rtol=2e-3, atol=2e-3)


EXPERTS = {
    "auto": [(GaussianDiscriminant, 1.0), (Prototype, 0.05), (TopKMean, 0.05)],
    "gda": [(GaussianDiscriminant, 1.0)],
    "knn": [(WeightedKnn, 0.05)],
    "tip": [(WeightedKnn, 0.05)],
    "top_k_mean": [(TopKMean, 0.05)],
    "prototype": [(Prototype, 0.05)],
    "top_k_mean_prototype": [(TopKMeanPrototype, 0.05)],
}


@pytest.mark.parametrize("rule", EXPERTS)
@pytest.mark.parametrize("metric", [True, False])
def test_each_rule_has_its_experts(rule, metric):
    """Their temperatures, the space in which they compare, and the name under which a calibration is stored."""
    config = RetrievalConfig(rule=rule, within_class_metric=metric, k=7)
    spec = make_rule(config, np.array([0, 1, 1]), 2)
    assert [(type(expert), expert.temperature) for expert in spec.experts] == EXPERTS[rule]
    assert spec.within_class_metric == (metric or rule in ("auto", "gda"))
    assert (spec.power_normalize, spec.fixed) == (None, False)
    text = " zero_shot_text=auto" if rule == "auto" else ""
    assert spec.name == (
        f"{rule} k=7 temperature=None within_class_metric={spec.within_class_metric} power_normalize=auto{text}"
    )
    with_temperature = make_rule(
        config.model_copy(update={"temperature": 0.2, "power_normalize": False}), np.zeros(3, int), 1
    )
    assert with_temperature.fixed == (rule != "auto")
    assert with_temperature.power_normalize is False
    if rule != "auto":
        assert with_temperature.experts[0].temperature == 0.2


def scores_of(rule, matrix, label_ids, queries):
    return only_expert(RetrievalConfig(rule=rule, k=4), label_ids, 4).scores(compare(matrix, queries, label_ids))


def test_rules_differ_in_how_many_examples_count(data):
    """`knn` takes k, `tip` all, `top_k_mean` five of each label, `top_k_mean_prototype` three and the mean."""
    matrix, label_ids, queries = data
    cosines = queries.astype(float) @ matrix.T.astype(float)
    limit = np.sort(cosines, axis=1)[:, -4:-3]
    for label in range(4):
        own = np.sort(cosines[:, label_ids == label], axis=1)
        mean = matrix[label_ids == label].astype(float).mean(axis=0)
        to_mean = queries @ mean / np.linalg.norm(mean)
        np.testing.assert_allclose(scores_of("top_k_mean", *data)[:, label], own[:, -5:].mean(axis=1), atol=1e-6)
        of_auto = make_rule(RetrievalConfig(), label_ids, 4).experts[2].scores(compare(matrix, queries, label_ids))
        np.testing.assert_allclose(of_auto[:, label], own[:, -5:].mean(axis=1), atol=1e-6)
        both = (own[:, -3:].mean(axis=1) + to_mean) / 2
        np.testing.assert_allclose(scores_of("top_k_mean_prototype", *data)[:, label], both, atol=1e-6)
        of_all = 0.05 * np.log(np.exp(own / 0.05).sum(axis=1))
        np.testing.assert_allclose(scores_of("tip", *data)[:, label], of_all, atol=1e-6)
        with np.errstate(divide="ignore"):
            of_near = 0.05 * np.log(np.where(own >= limit, np.exp(own / 0.05), 0).sum(axis=1))
        np.testing.assert_allclose(scores_of("knn", *data)[:, label], of_near, atol=1e-6)


def test_weighted_knn_works_where_k_exceeds_the_examples_of_a_label():
    """One near example wins against many far ones, where a majority would lose."""
    matrix = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    rule = WeightedKnn(np.array([0, 1, 1, 1]), 2, k=50, temperature=0.05)
    probabilities = softmax(rule.scores(compare(matrix, np.array([[1, 0]], np.float32))), 0.05)
    assert probabilities[0, 0] > 0.99


def test_top_k_mean_prototype_agrees_with_a_loop(data):
    """Scores equal the mean of (mean of 3 best cosines) and (cosine to the class mean), per class."""
    matrix, label_ids, queries = data
    scores = TopKMeanPrototype(3, 0.05).scores(compare(matrix, queries, label_ids))
    for query, row in zip(queries.astype(float), scores):
        for label in range(4):
            rows = matrix[label_ids == label].astype(float)
            prototype = rows.mean(0) / np.linalg.norm(rows.mean(0))
            expected = (np.sort(rows @ query)[-3:].mean() + prototype @ query) / 2
            assert row[label] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["knn", "top_k_mean_prototype"])
@pytest.mark.parametrize("size", [1, 7, 20])
def test_scores_do_not_depend_on_the_batch(name, size):
    """Scores have the same bits in any batch, equal examples included."""
    rng = np.random.default_rng(5)
    matrix, queries = np.repeat(random_embeddings(rng, 150, 700), 2, axis=0), random_embeddings(rng, 40, 700)
    label_ids = rng.integers(0, 9, 300)
    rule = only_expert(RetrievalConfig(rule=name), label_ids, 9)
    parts = [rule.scores(compare(matrix, queries[start : start + size], label_ids)) for start in range(0, 40, size)]
    np.testing.assert_array_equal(np.concatenate(parts), rule.scores(compare(matrix, queries, label_ids)))


@pytest.mark.parametrize(("name", "k"), [("knn", 20), ("knn", 50), ("tip", 20), ("top_k_mean_prototype", 20)])
def test_leaving_out_equals_deleting(data, name, k):
    """Scores with rows left out are those of a dataset without these rows: exact leave-one-out."""
    matrix, label_ids, _ = data
    config = RetrievalConfig(rule=name, k=k)
    rule = only_expert(config, label_ids, 4)
    scores = rule.scores(compare(matrix, matrix.copy(), label_ids, [[row] for row in range(40)]))
    for row in range(40):
        rest = np.arange(40) != row
        smaller = only_expert(config, label_ids[rest], 4)
        expected = smaller.scores(compare(matrix[rest], matrix[row : row + 1], label_ids[rest]))
        np.testing.assert_allclose(scores[row], expected[0], atol=1e-6)


@pytest.mark.parametrize("name", ["knn", "top_k_mean_prototype"])
def test_a_label_without_examples_has_probability_zero(name):
    """A label all of whose examples are left out has probability 0; if all examples are left out, every label has."""
    matrix = np.eye(2, dtype=np.float32)
    rule = only_expert(RetrievalConfig(rule=name), np.array([0, 1]), 2)
    scores = rule.scores(compare(matrix, matrix[:1].copy(), np.array([0, 1]), [[0]]))
    assert scores[0, 0] == -np.inf
    np.testing.assert_array_equal(softmax(scores, 0.05), [[0, 1]])
    no_scores = rule.scores(compare(matrix, matrix[:1].copy(), np.array([0, 1]), [[0, 1]]))
    np.testing.assert_array_equal(softmax(no_scores, 0.05), [[0, 0]])


@pytest.mark.parametrize("rule", ["knn", "tip", "top_k_mean", "prototype", "top_k_mean_prototype", "gda"])
def test_without_any_example_no_label_has_a_score(rule):
    """Every score is minus infinity."""
    empty, no_ids = Gallery(np.empty((0, 4), np.float32), np.empty(0, np.int64), 2), np.empty(0, np.int64)
    scores = only_expert(RetrievalConfig(rule=rule), no_ids, 2).scores(empty.compare(np.eye(4, dtype=np.float32)[:3]))
    np.testing.assert_array_equal(scores, np.full((3, 2), -np.inf))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_rows_by_label(label_ids):
    """Every row is under its own label, ascending, exactly once."""
    rows = rows_by_label(np.array(label_ids), 6)
    assert len(rows) == 6
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(label_ids)))
    for label, rows_of_label in enumerate(rows):
        assert all(label_ids[row] == label for row in rows_of_label)
        assert rows_of_label.tolist() == sorted(rows_of_label.tolist())


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8), st.floats(0.001, 10))
def test_probabilities_sum_to_one_and_keep_the_order(scores, temperature):
    """Probabilities are a distribution in the order of the scores, however extreme."""
    probabilities = softmax(np.array(scores), temperature)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[int(np.argmax(scores))] == probabilities.max()


def test_a_product_multiplies_the_probabilities_of_its_experts():
    """The result is the normalized geometric mean of the probabilities that the experts give."""
    first, second = np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.6, 0.3]])
    found = product([(0.05 * np.log(first), 0.05), (3 * np.log(second), 3.0)])
    expected = np.sqrt(first * second)
    np.testing.assert_allclose(found, np.log(expected))
    np.testing.assert_allclose(softmax(found), expected / expected.sum(), atol=1e-12)


def test_no_expert_can_exclude_a_label_alone():
    """However sure one expert is, the others can outvote it; a label without examples stays excluded."""
    sure = (np.array([[0.0, -1e6, -np.inf]]), 1.0)
    others = [(np.array([[-20.0, 0.0, -np.inf]]), 1.0)] * 2
    np.testing.assert_allclose(product([sure, *others]), [[-32 / 3, -16 / 3, -np.inf]], atol=1e-6)
