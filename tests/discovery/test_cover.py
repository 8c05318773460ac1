"""The order in which images are worth an answer: invariants of the cover, and of its weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.discovery.cover import ambiguity, cold_start, cover, either, novelty, shuffled


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def drawn(seed, count, dim=8):
    return unit(np.random.default_rng(seed).normal(size=(count, dim)))


def names(count):
    return [f"{number:04}" for number in range(count)]


def value(embeddings, weights, picks):
    """The weighted sum of the similarities with the best pick, written down anew."""
    similarities = np.maximum(embeddings @ embeddings[list(picks)].T, 0) ** 2
    return float((weights * similarities.max(axis=1)).sum())


IMAGES = st.tuples(st.integers(0, 10**6), st.integers(1, 25))


@settings(max_examples=40, deadline=None)
@given(IMAGES, st.integers(0, 30))
def test_a_permutation_changes_nothing(images, count):
    """The order is one of images, not of rows."""
    seed, n = images
    embeddings, weights, ids = drawn(seed, n), np.random.default_rng(seed).random(n), names(n)
    picks = cover(embeddings, weights, ids, count)
    shuffled = np.random.default_rng(seed + 1).permutation(n)
    again = cover(embeddings[shuffled], weights[shuffled], [ids[row] for row in shuffled], count)
    assert [ids[row] for row in picks.rows] == [ids[shuffled[row]] for row in again.rows]
    assert len(set(picks.rows.tolist())) == min(count, n)
    np.testing.assert_array_equal(picks.gains, again.gains)


@settings(max_examples=40, deadline=None)
@given(IMAGES)
def test_each_pick_is_the_best_next_one(images):
    """The gain of a pick is what it adds, no other image adds more, and gains fall."""
    seed, n = images
    embeddings, weights = drawn(seed, n), np.random.default_rng(seed).random(n)
    picks = cover(embeddings, weights, names(n), min(n, 4))
    taken, former = [], 0.0
    for row, gain in zip(picks.rows.tolist(), picks.gains):
        best = max(value(embeddings, weights, [*taken, other]) for other in range(n))
        taken.append(row)
        reached = value(embeddings, weights, taken)
        assert reached == pytest.approx(best, rel=1e-4)
        assert gain == pytest.approx(reached - former, abs=1e-4)
        former = reached
    assert (np.diff(picks.gains) <= 1e-4).all()


@settings(max_examples=30, deadline=None)
@given(IMAGES, st.integers(2, 4))
def test_a_copy_is_never_picked_before_other_images(images, copies):
    """Equal images add something once; the one with the least id stands for them."""
    seed, n = images
    embeddings = np.tile(drawn(seed, n), (copies, 1))
    picks = cover(embeddings, np.ones(len(embeddings)), names(len(embeddings)), len(embeddings))
    first = picks.rows[picks.gains > 0]
    assert (first < n).all()
    assert len(set((first % n).tolist())) == len(first)
    assert sorted(picks.rows.tolist()) == list(range(len(embeddings)))


def test_without_images_there_is_no_pick():
    """Nothing in, nothing out; one image is picked."""
    assert cover(np.empty((0, 4), np.float32), np.empty(0), [], 3).rows.tolist() == []
    assert cover(drawn(0, 5), np.ones(5), names(5), 0).rows.tolist() == []
    assert cover(drawn(0, 1), np.ones(1), ["a"], 3).rows.tolist() == [0]


def test_without_weight_the_ids_decide():
    """No image adds anything, so the order is that of the ids."""
    ids = ["c", "a", "b"]
    picks = cover(drawn(0, 3), np.zeros(3), ids, 3)
    assert [ids[row] for row in picks.rows] == ["a", "b", "c"]
    assert picks.gains.tolist() == [0, 0, 0]


def test_identical_vectors_are_ordered_by_id():
    """One of them stands for all."""
    ids = ["z", "m", "a"]
    picks = cover(np.tile(drawn(0, 1), (3, 1)), np.ones(3), ids, 2)
    assert [ids[row] for row in picks.rows] == ["a", "m"]
    assert picks.gains[0] == pytest.approx(3, rel=1e-5)
    assert picks.gains[1] == 0


def test_what_labeled_images_cover_comes_last():
    """An image like a labeled one adds nothing, however many there are of it."""
    many, rare = np.tile(drawn(0, 1), (9, 1)), drawn(1, 1)
    embeddings = np.concatenate([many, rare])
    assert cover(embeddings, np.ones(10), names(10), 1).rows.tolist() == [0]
    assert cover(embeddings, np.ones(10), names(10), 1, labeled=many[:1]).rows.tolist() == [9]


def test_weight_decides_what_must_be_covered():
    """The heavy image is picked first, although the other ones are more."""
    embeddings = np.concatenate([np.tile(drawn(0, 1), (5, 1)), drawn(1, 1)])
    weights = np.array([0.1] * 5 + [1.0])
    assert cover(embeddings, weights, names(6), 1).rows.tolist() == [5]


def test_a_sample_stands_for_very_many_images():
    """The heaviest stay in it, it is the same each time, and its picks are nearly as good as those of all."""
    rng = np.random.default_rng(0)
    centers = drawn(3, 6, 16)
    embeddings = unit(centers[rng.integers(0, 6, 1200)] + 0.1 * rng.normal(size=(1200, 16)))
    weights, ids = rng.random(1200) ** 3, names(1200)
    sampled = cover(embeddings, weights, ids, 6, most=150)
    assert sampled.rows.tolist() == cover(embeddings, weights, ids, 6, most=150).rows.tolist()
    whole = cover(embeddings, weights, ids, 6)
    assert value(embeddings, weights, sampled.rows) > 0.95 * value(embeddings, weights, whole.rows)
    assert sampled.gains.sum() == pytest.approx(whole.gains.sum(), rel=0.1)  # the sums are estimates of all images
    heavy = np.where(np.arange(1200) % 400 == 7, 50, weights)
    assert {7, 407, 807} <= set(cover(embeddings, heavy, ids, 150, most=150).rows.tolist())
    shuffled = rng.permutation(1200)
    again = cover(embeddings[shuffled], weights[shuffled], [ids[row] for row in shuffled], 6, most=150)
    assert shuffled[again.rows].tolist() == sampled.rows.tolist()
    assert len(cover(embeddings, np.zeros(1200), ids, 6, most=150).rows) == 6


def test_weights():
    """1 without any knowledge; 1 minus the margin; the square of 1 - p; and either of two."""
    assert cold_start(2).tolist() == [1, 1]
    np.testing.assert_allclose(ambiguity(np.array([[0.5, 0.5, 0], [0.1, 0.2, 0.7], [0, 0, 0]])), [1, 0.5, 1])
    np.testing.assert_allclose(ambiguity(np.array([[1.0], [0.25]])), [0, 0.75])
    np.testing.assert_allclose(novelty(np.array([-9.0, 0, 9]), np.array([-1.0, 0, 1])), [0.75**2, 0.25**2, 0])
    np.testing.assert_allclose(novelty(np.array([1.0]), np.empty(0)), [0])
    np.testing.assert_allclose(either(np.array([0, 0.5, 1]), np.array([0, 0.5, 0.3])), [0, 0.75, 1])


def test_shuffled_names_are_an_order_of_their_own():
    """Not that of the names, but always the same; names that differ stay different."""
    given = [f"folder/{number:03}" for number in range(200)]
    texts = shuffled(given)
    assert shuffled(given[::-1]) == texts[::-1]
    assert len(set(texts)) == 200
    first = sorted(range(200), key=texts.__getitem__)[:100]
    assert 30 <= sum(row < 100 for row in first) <= 70
