"""The voting rules agree with loops, also in edge cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.numerics import softmax
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery, rows_by_label
from lmm_classifier.neighbors.voting import ProductOfExperts, TopKMeanPrototype, WeightedKnn, make_rule
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


def test_weighted_knn_works_where_k_exceeds_the_examples_of_a_label():
    """One near example wins against many far ones, where a majority would lose."""
    matrix = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    rule = WeightedKnn(np.array([0, 1, 1, 1]), 2, k=50, temperature=0.05)
    probabilities = softmax(rule.scores(compare(matrix, np.array([[1, 0]], np.float32))), 0.05)
    assert probabilities[0, 0] > 0.99


def test_top_k_mean_prototype_agrees_with_a_loop(data):
    """Scores equal the mean of (mean of 3 best cosines) and (cosine to the class mean), per class."""
    matrix, label_ids, queries = data
    scores = TopKMeanPrototype().scores(compare(matrix, queries, label_ids))
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


@pytest.mark.parametrize("name", ["knn", "top_k_mean_prototype"])
def test_leaving_out_equals_deleting(data, name):
    """Scores with rows left out are those of a dataset without these rows: exact leave-one-out."""
    matrix, label_ids, _ = data
    config = RetrievalConfig(rule=name)
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


class FixedScores:
    """An expert with given scores."""

    def __init__(self, scores, temperature):
        self.temperature = temperature
        self._scores = np.array(scores)

    def scores(self, similarities):
        return self._scores


def test_a_product_multiplies_the_probabilities_of_its_experts():
    """The result is the normalized geometric mean of the probabilities that the experts give."""
    first, second = np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.6, 0.3]])
    rule = ProductOfExperts([FixedScores(0.05 * np.log(first), 0.05), FixedScores(3 * np.log(second), 3.0)])
    expected = np.sqrt(first * second)
    np.testing.assert_allclose(softmax(rule.scores(None), rule.temperature), expected / expected.sum(), atol=1e-12)


def test_no_expert_can_exclude_a_label_alone():
    """However sure one expert is, the others can outvote it; a label without examples stays excluded."""
    sure = FixedScores([[0.0, -1e6, -np.inf]], 1.0)
    others = [FixedScores([[-20.0, 0.0, -np.inf]], 1.0)] * 2
    rule = ProductOfExperts([sure, *others])
    np.testing.assert_allclose(rule.scores(None), [[-32 / 3, -16 / 3, -np.inf]], atol=1e-6)
