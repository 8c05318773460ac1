"""The voting rules against brute force, and their promises at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.numerics import shares
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery, rows_by_label
from lmm_classifier.neighbors.voting import SoftmaxVote, TopMeanPrototype, Voices, open_recipe
from lmm_classifier.testing import unit_rows


def comparison(matrix, queries, label_ids=None, left_out=()):
    label_ids = np.zeros(len(matrix), np.int64) if label_ids is None else label_ids
    return Gallery(matrix, label_ids, int(label_ids.max()) + 1).compare(queries, [np.array(r, int) for r in left_out])


def only_voice(config, label_ids, labels):
    (voice,) = open_recipe(config, label_ids, labels).voices
    return voice


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    matrix, queries = unit_rows(rng, 40, 8), unit_rows(rng, 6, 8)
    label_ids = rng.integers(0, 4, 40)
    return matrix, label_ids, queries


def test_softmax_vote_is_the_share_of_exponential_weights(data):
    """Shares equal a plain loop over the k nearest."""
    matrix, label_ids, queries = data
    rule = SoftmaxVote(label_ids, 4, k=7, temperature=0.1)
    got = shares(rule.scores(comparison(matrix, queries)), 0.1)
    for query, row in zip(queries, got):
        near = matrix.astype(float) @ query.astype(float)
        best = np.argsort(-near)[:7]
        expected = np.zeros(4)
        for one in best:
            expected[label_ids[one]] += np.exp(near[one] / 0.1)
        np.testing.assert_allclose(row, expected / expected.sum(), atol=1e-6)


def test_softmax_vote_survives_k_larger_than_a_class():
    """One near example wins against many far ones, where a majority would lose."""
    matrix = np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    rule = SoftmaxVote(np.array([0, 1, 1, 1]), 2, k=50, temperature=0.05)
    share = shares(rule.scores(comparison(matrix, np.array([[1, 0]], np.float32))), 0.05)
    assert share[0, 0] > 0.99


def test_top_mean_prototype_against_a_loop(data):
    """Scores equal the mean of (mean of 3 best cosines) and (cosine to the class mean), per class."""
    matrix, label_ids, queries = data
    got = TopMeanPrototype().scores(comparison(matrix, queries, label_ids))
    for query, row in zip(queries.astype(float), got):
        for label in range(4):
            rows = matrix[label_ids == label].astype(float)
            prototype = rows.mean(0) / np.linalg.norm(rows.mean(0))
            expected = (np.sort(rows @ query)[-3:].mean() + prototype @ query) / 2
            assert row[label] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["softmax", "top3_prototype"])
@pytest.mark.parametrize("size", [1, 7, 20])
def test_scores_do_not_depend_on_the_batch(name, size):
    """Scores have the same bits whatever they are computed with, equal examples included."""
    rng = np.random.default_rng(5)
    matrix, queries = np.repeat(unit_rows(rng, 150, 700), 2, axis=0), unit_rows(rng, 40, 700)
    label_ids = rng.integers(0, 9, 300)
    rule = only_voice(RetrievalConfig(rule=name), label_ids, 9)
    parts = [rule.scores(comparison(matrix, queries[start : start + size], label_ids)) for start in range(0, 40, size)]
    np.testing.assert_array_equal(np.concatenate(parts), rule.scores(comparison(matrix, queries, label_ids)))


@pytest.mark.parametrize("name", ["softmax", "top3_prototype"])
def test_leaving_out_equals_deleting(data, name):
    """Scores with rows left out are those of a corpus without these rows: exact leave-one-out."""
    matrix, label_ids, _ = data
    config = RetrievalConfig(rule=name)
    rule = only_voice(config, label_ids, 4)
    got = rule.scores(comparison(matrix, matrix.copy(), label_ids, [[row] for row in range(40)]))
    for row in range(40):
        rest = np.arange(40) != row
        smaller = only_voice(config, label_ids[rest], 4)
        expected = smaller.scores(comparison(matrix[rest], matrix[row : row + 1], label_ids[rest]))
        np.testing.assert_allclose(got[row], expected[0], atol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "top3_prototype"])
def test_a_label_without_evidence_has_no_share(name):
    """A label all of whose examples are left out gets nothing; with none left nobody does."""
    matrix = np.eye(2, dtype=np.float32)
    rule = only_voice(RetrievalConfig(rule=name), np.array([0, 1]), 2)
    one = rule.scores(comparison(matrix, matrix[:1].copy(), np.array([0, 1]), [[0]]))
    assert one[0, 0] == -np.inf
    np.testing.assert_array_equal(shares(one, 0.05), [[0, 1]])
    none = rule.scores(comparison(matrix, matrix[:1].copy(), np.array([0, 1]), [[0, 1]]))
    np.testing.assert_array_equal(shares(none, 0.05), [[0, 0]])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_rows_by_label(label_ids):
    """Every row is under its own label, ascending, exactly once."""
    rows = rows_by_label(np.array(label_ids), 6)
    assert len(rows) == 6
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(label_ids)))
    for label, mine in enumerate(rows):
        assert all(label_ids[row] == label for row in mine)
        assert mine.tolist() == sorted(mine.tolist())


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8), st.floats(0.001, 10))
def test_shares_sum_to_one_and_keep_the_order(scores, temperature):
    """Shares are a distribution in the order of the scores, however extreme."""
    share = shares(np.array(scores), temperature)
    assert share.sum() == pytest.approx(1)
    assert share[int(np.argmax(scores))] == share.max()


class Says:
    """A voice that says what it was told."""

    def __init__(self, scores, temperature):
        self.temperature = temperature
        self._scores = np.array(scores)

    def scores(self, comparison):
        return self._scores


def test_voices_multiply_their_opinions():
    """The shares of the voices are the normalised geometric mean of the probabilities that each gives."""
    first, second = np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.6, 0.3]])
    rule = Voices([Says(0.05 * np.log(first), 0.05), Says(3 * np.log(second), 3.0)])
    expected = np.sqrt(first * second)
    np.testing.assert_allclose(shares(rule.scores(None), rule.temperature), expected / expected.sum(), atol=1e-12)


def test_a_voice_doubts_but_does_not_veto():
    """However sure one voice is, the others can outvote it; a label without examples stays out."""
    sure = Says([[0.0, -1e6, -np.inf]], 1.0)
    others = [Says([[-20.0, 0.0, -np.inf]], 1.0)] * 2
    rule = Voices([sure, *others])
    np.testing.assert_allclose(rule.scores(None), [[-32 / 3, -16 / 3, -np.inf]], atol=1e-6)
