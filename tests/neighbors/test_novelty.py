"""Familiarity agrees with its definition, also in edge cases."""

import numpy as np
import pytest

from lmm_classifier.neighbors import novelty as module
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.leave_one_out import LeaveOneOut
from lmm_classifier.neighbors.novelty import (
    Familiarity,
    NeighborDensity,
    _relative_density,
    by_label,
    is_large,
    keep_known_threshold,
    signals,
    signals_held_out,
)
from lmm_classifier.testing import clustered_embeddings, random_embeddings

LABELS = ["a"] * 9 + ["b"] * 12 + ["c"] * 7
IDS = np.array([ord(label) - ord("a") for label in LABELS])


def fit_familiarity(gallery):
    """The familiarity of a gallery, fitted by leave-one-out in its own space."""
    density = NeighborDensity.of(gallery)
    ((rows, block),) = LeaveOneOut(gallery).blocks()
    return Familiarity.fit(density.knn_distance, signals_held_out(density, rows, block, block))


@pytest.fixture
def embeddings():
    return clustered_embeddings(np.random.default_rng(0), LABELS, 16, spread=1.0)


def test_leaving_out_equals_deleting(embeddings):
    """Every signal of an example equals that of a query compared with a dataset without it."""
    gallery = Gallery(embeddings, IDS, 3)
    density = NeighborDensity.of(gallery)
    ((rows, block),) = LeaveOneOut(gallery).blocks()
    signals_of_all = signals_held_out(density, rows, block, block)
    for row in rows:
        rest = np.delete(rows, row)
        smaller = Gallery(embeddings[rest], IDS[rest], 3)
        query = smaller.compare(embeddings[[row]])
        expected = signals(query, query, NeighborDensity.of(smaller).knn_distance)[0]
        np.testing.assert_allclose(signals_of_all[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4, 8, 10, 11, 12, 13])
def test_in_small_datasets_too_the_density_is_that_of_the_others(count):
    """Where there are fewer neighbors than counted, and one of them is left out."""
    embeddings = clustered_embeddings(np.random.default_rng(7), ["a"] * count, 6, 1.0)
    density = NeighborDensity.of(Gallery(embeddings, np.zeros(count, np.int64), 1))
    found = density.held_out(np.arange(count))
    for row in range(count):
        rest = np.delete(np.arange(count), row)
        similarities = embeddings[rest].astype(float) @ embeddings[rest].T.astype(float)
        np.fill_diagonal(similarities, -np.inf)
        k = min(10, count - 1)
        nearest = np.argsort(-(embeddings[rest] @ embeddings[row]), kind="stable")[:k]
        of_others = [1 - np.sort(similarities[n])[-min(k, count - 2) :].mean() if count > 2 else 1.0 for n in nearest]
        own = 1 - (embeddings[rest][nearest].astype(float) @ embeddings[row]).mean()
        assert found[row] == pytest.approx(-(own + 1e-6) / (np.mean(of_others) + 1e-6), rel=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 11, 12])
def test_small_datasets(count):
    """Familiarity is finite from one example on."""
    gallery = Gallery(random_embeddings(np.random.default_rng(1), count, 5), np.zeros(count, np.int64), 1)
    familiarity = fit_familiarity(gallery)
    query = gallery.compare(random_embeddings(np.random.default_rng(2), 4, 5))
    assert np.isfinite(familiarity.of(query, query)).all()


def test_a_search_gives_the_same_density(embeddings):
    """A search of the k nearest gives the same neighbors, also among many duplicates."""
    duplicates = np.repeat(embeddings[:1], 30, axis=0)
    gallery = Gallery(np.concatenate([embeddings, duplicates]), np.append(IDS, [0] * 30), 3)
    search = BruteForceSearch(gallery.embeddings, int8=False).search
    expected, density = NeighborDensity.of(gallery), NeighborDensity.of(gallery, search=search)
    np.testing.assert_allclose(density.knn_distance, expected.knn_distance, atol=1e-6)
    np.testing.assert_allclose(density.cosines, expected.cosines, atol=1e-6)
    assert not (density.rows == np.arange(len(gallery.embeddings))[:, None]).any()


def test_in_a_very_large_dataset_rows_have_the_mean_distance_of_their_label(embeddings, monkeypatch):
    """The mean is that of some rows of the label, or of all labels where none is known, without the sample."""
    gallery, sample = Gallery(embeddings, IDS, 3), np.arange(0, 28, 2)
    complete = NeighborDensity.of(gallery)
    monkeypatch.setattr("lmm_classifier.neighbors.novelty._MOST_PAIRS", 700)
    density = NeighborDensity.of(gallery, sample)
    further = np.setdiff1d(np.flatnonzero(density.rows[:, 0] >= 0), sample)
    assert len(further) == 12
    for label in range(3):
        expected = complete.knn_distance[further][IDS[further] == label].mean()
        np.testing.assert_allclose(density.knn_distance[label == IDS], expected)
    own = complete.cosines[sample, :10].mean(axis=1)
    around = density.knn_distance[complete.rows[sample, :10]].mean(axis=1)
    np.testing.assert_allclose(density.held_out(sample), -(1 - own) / around, rtol=1e-5)
    without_one_label = by_label(np.where(IDS == 1, np.nan, complete.knn_distance), gallery)
    np.testing.assert_allclose(without_one_label[IDS == 1], complete.knn_distance[IDS != 1].mean())


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_in_a_very_large_dataset_new_images_are_accepted_as_often_as_wanted(fraction, monkeypatch):
    """New images have the density of left-out examples, also if a fraction of the dataset are near-duplicates."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30, 6000)
    embeddings = clustered_embeddings(rng, [str(label) for label in ids], 24, spread=1.0)
    is_twin = rng.random(3000) < fraction
    noise = rng.normal(size=(is_twin.sum(), 24)).astype(np.float32) * 0.01
    embeddings[3000:][is_twin] = embeddings[:3000][is_twin] + noise
    ids[3000:][is_twin] = ids[:3000][is_twin]
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    order = rng.permutation(6000)
    old, new = order[:5000], order[5000:]
    gallery, sample = Gallery(embeddings[old], ids[old], 30), np.arange(0, 5000, 5)
    monkeypatch.setattr("lmm_classifier.neighbors.novelty._MOST_PAIRS", 10_000_000)
    density = NeighborDensity.of(gallery, sample)
    rows, cosines = gallery.compare(embeddings[new]).nearest_each(10)
    densities = _relative_density(rows, cosines, density.knn_distance)
    for keep in (0.95, 0.9, 0.8):
        accepted = (densities >= np.quantile(density.held_out(sample), 1 - keep)).mean()
        assert abs(accepted - keep) < 0.03


def test_duplicates_do_not_divide_by_zero():
    """In a dataset of one image many times, the same image is familiar and another one is not."""
    embeddings = np.repeat(random_embeddings(np.random.default_rng(1), 1, 5), 20, axis=0)
    gallery = Gallery(embeddings, np.repeat([0, 1], 10), 2)
    familiarity = fit_familiarity(gallery)
    same = gallery.compare(embeddings[:1])
    different = gallery.compare(random_embeddings(np.random.default_rng(3), 1, 5))
    assert familiarity.of(same, same)[0] >= 0
    assert familiarity.of(different, different)[0] < -3


def test_unknown_images_are_less_familiar(embeddings):
    """Random embeddings are less familiar than the median left-out example."""
    gallery = Gallery(embeddings[:20], IDS[:20], 3)
    familiarity = fit_familiarity(gallery)
    unknowns = gallery.compare(random_embeddings(np.random.default_rng(9), 50, 16))
    assert (familiarity.of(unknowns, unknowns) < 0).mean() > 0.9


def test_stored_arrays_give_the_same_familiarity(embeddings):
    """The same numbers return; arrays of another dataset or with NaN are refused."""
    gallery = Gallery(embeddings, IDS, 3)
    familiarity = fit_familiarity(gallery)
    rebuilt = Familiarity.from_arrays(familiarity.to_arrays(), len(embeddings))
    query = gallery.compare(random_embeddings(np.random.default_rng(2), 4, 16))
    np.testing.assert_array_equal(rebuilt.of(query, query), familiarity.of(query, query))
    with pytest.raises(ValueError, match="expected 29 and 5"):
        Familiarity.from_arrays(familiarity.to_arrays(), 29)
    with pytest.raises(ValueError, match="not finite"):
        Familiarity.from_arrays({**familiarity.to_arrays(), "center": np.full(5, np.nan)}, len(embeddings))


@pytest.mark.parametrize("count", [1, 4, 9, 19, 20, 99])
@pytest.mark.parametrize("keep", [0.01, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99])
def test_over_all_ranks_of_a_new_image_as_many_are_kept_as_asked_for(count, keep):
    """A new image is equally likely to come at each of n + 1 ranks: those at or above the threshold are counted."""
    familiarity = np.random.default_rng(count).permutation(np.arange(1.0, count + 1))
    threshold = keep_known_threshold(np.append(familiarity, [-np.inf, np.nan]), keep)
    ranks = np.arange(count + 1) + 0.5  # below the first, between two, above the last
    kept = (ranks >= threshold).mean() if threshold >= 1 else 1.0
    assert kept >= keep - 1e-9
    assert kept - 1 / (count + 1) < keep + 1e-9  # one rank less would be too few
    assert (threshold < 1) == (keep > count / (count + 1) + 1e-9)
    assert (familiarity >= threshold).mean() >= keep


class GivenSimilarities:
    """Similarities with given values."""

    def __init__(self, rows, cosines, to_means, top, best):
        self._values = rows, cosines
        self._to_means, self._top, self._best = to_means, top, best

    def nearest_each(self, k):
        assert k == 10
        return self._values

    def mean_cosines(self):
        return self._to_means

    def top_k_mean(self, m):
        assert m == 5
        return self._top

    def best_label(self):
        return self._best


def test_the_five_signals_by_hand():
    """Relative density, nearest example, best label, energy over the prototypes, and nearest of one label."""
    rows, cosines = np.array([[2, 0, 1], [1, -1, -1]]), np.array([[0.9, 0.8, 0.4], [0.7, -np.inf, -np.inf]])
    knn_distance, to_means = np.array([0.1, 0.2, 0.6]), np.array([[0.5, 0.4, -np.inf], [0.1, 0.3, 0.2]])
    top = np.array([[0.6, 0.7, -np.inf], [0.2, 0.1, 0.0]])
    compared = GivenSimilarities(rows, cosines, to_means, top, np.array([0.55, 0.45]))
    found = signals(compared, compared, knn_distance)
    density = [-(1 - 0.7 + 1e-6) / (0.3 + 1e-6), -(1 - 0.7 + 1e-6) / (0.2 + 1e-6)]
    energy = [0.05 * np.log(np.exp(10) + np.exp(8)), 0.05 * np.log(np.exp(2) + np.exp(6) + np.exp(4))]
    expected = np.stack([density, [0.9, 0.7], [0.55, 0.45], energy, [0.7, 0.2]], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    nothing = GivenSimilarities(np.empty((1, 0), int), np.empty((1, 0)), None, top[:1, :0], [-np.inf])
    nothing._to_means = np.full((1, 2), -np.inf)
    assert np.isneginf(signals(nothing, nothing, np.empty(0))).all()


def test_familiarity_is_the_mean_of_clipped_deviations():
    """Medians and robust deviations of the finite signals, at least a fifth of the plain one; clipped at four."""
    rng = np.random.default_rng(0)
    held_out = rng.normal(size=(41, 5)) * [1, 2, 3, 4, 5]
    held_out[0, 0] = -np.inf
    held_out[:30, 1] = 7.0  # most are alike: the robust deviation is 0
    held_out[:, 2] = 1.0  # all are alike
    familiarity = Familiarity.fit(np.zeros(41), held_out)
    deviations = []
    for signal in held_out.T:
        finite = signal[np.isfinite(signal)]
        robust = 1.4826 * np.median(np.abs(finite - np.median(finite)))
        spread = max(robust, 0.2 * finite.std(), 1e-6)
        deviations.append(np.clip((signal - np.median(finite)) / spread, -4, 4))
    expected = np.mean(deviations, axis=0)
    np.testing.assert_allclose(familiarity.of_signals(held_out), expected)
    assert familiarity.spread[2] == 1e-6
    assert familiarity.spread[1] == pytest.approx(0.2 * held_out[:, 1].std())
    assert (familiarity.of_signals(np.full((1, 5), np.inf)) == 4).all()
    assert (familiarity.of_signals(np.full((1, 5), -np.inf)) == -4).all()
    nothing = Familiarity.fit(np.zeros(0), np.full((2, 5), -np.inf))
    assert (nothing.center.tolist(), nothing.spread.tolist()) == ([0.0] * 5, [1.0] * 5)
    nothing = Familiarity.fit(np.zeros(0), np.empty((0, 5)))
    assert (nothing.center.tolist(), nothing.spread.tolist()) == ([0.0] * 5, [1.0] * 5)


def test_an_example_without_neighbors_has_the_density_of_its_own():
    """A single example: nothing around it, so its relative density is that of equal distances, -1."""
    gallery = Gallery(random_embeddings(np.random.default_rng(1), 1, 5), np.zeros(1, np.int64), 1)
    density = NeighborDensity.of(gallery)
    assert density.held_out(np.array([0])).tolist() == [-1.0]
    assert density.knn_distance.tolist() == [1.0]


@pytest.mark.parametrize("count", [1, 2, 9, 11, 12, 13, 30])
def test_one_neighbor_more_is_known_than_needed(count):
    """Eleven, or all others: so any one of them can be left out."""
    embeddings = random_embeddings(np.random.default_rng(1), count, 5)
    density = NeighborDensity.of(Gallery(embeddings, np.zeros(count, np.int64), 1))
    assert density.rows.shape == density.cosines.shape == (count, min(11, count - 1))
    assert density.k == min(10, count - 1)
    assert (np.diff(density.cosines, axis=1) <= 0).all()


def test_blocks_of_any_size_find_the_same_neighbors(embeddings, monkeypatch):
    """However few rows are compared at a time."""
    gallery = Gallery(embeddings, IDS, 3)
    expected = NeighborDensity.of(gallery)
    for name, value in (("_BLOCK", 5), ("_MOST_AT_ONCE", 60), ("_MOST_AT_ONCE", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(f"lmm_classifier.neighbors.novelty.{name}", value)
            np.testing.assert_array_equal(NeighborDensity.of(gallery).rows, expected.rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("center", np.zeros(4)),
        ("spread", np.ones(6)),
        ("spread", np.array([1.0, 1, 1, 1, 0])),
        ("spread", np.array([1.0, 1, 1, 1, -1])),
        ("center", np.full(5, np.inf)),
    ],
)
def test_arrays_that_cannot_be_are_refused(name, value):
    """One wrong shape or number is enough."""
    arrays = Familiarity.fit(np.zeros(3), np.random.default_rng(0).normal(size=(3, 5))).to_arrays()
    assert Familiarity.from_arrays(arrays, 3).spread.shape == (5,)
    with pytest.raises(ValueError, match="familiarity"):
        Familiarity.from_arrays({**arrays, name: value}, 3)


@pytest.mark.parametrize(("count", "large"), [(200_000, False), (200_001, True), (0, False)])
def test_a_dataset_is_large_above_200_000_examples(count, large):
    """From there on the density around every example would take too long."""
    assert is_large(count) == large


@pytest.mark.parametrize("keep", [0.8, 0.95, 0.99])
def test_as_many_known_images_are_accepted_as_asked_for(keep):
    """On average over datasets; equal values and a small dataset accept more."""
    rng = np.random.default_rng(3)
    accepted = [(rng.normal(size=2000) >= keep_known_threshold(rng.normal(size=300), keep)).mean() for _ in range(200)]
    assert keep - 0.005 <= np.mean(accepted) <= keep + 0.01
    assert (np.zeros(10) >= keep_known_threshold(np.zeros(10), keep)).all()
    assert (np.arange(5.0) >= keep_known_threshold(np.arange(5.0), 0.95)).all()
    assert (np.arange(5.0) >= keep_known_threshold(np.arange(5.0), 1e-9)).sum() == 1


def test_a_threshold_for_no_or_all_known_images_is_refused():
    """The fraction must lie between 0 and 1, and some example must have a neighbor."""
    for keep in (0.0, 1.0):
        with pytest.raises(ValueError, match="fraction between"):
            keep_known_threshold(np.zeros(3), keep)
    with pytest.raises(ValueError, match="neighbor"):
        keep_known_threshold(np.array([-np.inf]), 0.9)


def test_at_most_268_mb_of_similarities_are_held_at_a_time():
    """In blocks of 1,024 rows, or of fewer where there are many."""
    assert (module._BLOCK, 4 * module._MOST_AT_ONCE) == (1024, 268_435_456)


def test_in_a_very_large_dataset_all_rows_judge_the_labels_where_none_is_left_out(embeddings, monkeypatch):
    """An even choice from the first row to the last; a label with one known row has the distance of that one."""
    monkeypatch.setattr("lmm_classifier.neighbors.novelty._MOST_PAIRS", 700)
    gallery = Gallery(embeddings, IDS, 3)
    known = np.flatnonzero(NeighborDensity.of(gallery).rows[:, 0] >= 0)
    assert known.tolist() == np.linspace(0, 27, 12).astype(int).tolist()
    one_known = np.where(np.arange(28) == 3, 0.5, np.nan)
    one_known[9:21] = 0.25
    found = by_label(one_known, gallery)
    assert found[:9].tolist() == [0.5] * 9
    np.testing.assert_allclose(found[21:], (0.5 + 12 * 0.25) / 13)
    assert by_label(np.full(28, np.nan), gallery).tolist() == [1.0] * 28
