"""Familiarity against brute force, and at the edges."""

import numpy as np
import pytest

from lmm_classifier.neighbors.brute_force import NearestRows
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.leave_one_out import LeaveOneOut
from lmm_classifier.neighbors.novelty import Density, Familiarity, _relative, by_label, signals, signals_left_out
from lmm_classifier.testing import clustered_rows, unit_rows

LABELS = ["a"] * 9 + ["b"] * 12 + ["c"] * 7
IDS = np.array([ord(label) - ord("a") for label in LABELS])


@pytest.fixture
def units():
    return clustered_rows(np.random.default_rng(0), LABELS, 16, spread=1.0)


def test_left_out_equals_deleting(units):
    """Every signal of an example equals that of a query against a corpus which does not hold it."""
    gallery = Gallery(units, IDS, 3)
    density = Density.of(gallery)
    ((rows, block),) = LeaveOneOut(gallery).blocks()
    got = signals_left_out(density, rows, block, block)
    for row in rows:
        rest = np.delete(rows, row)
        smaller = Gallery(units[rest], IDS[rest], 3)
        query = smaller.compare(units[[row]])
        np.testing.assert_allclose(
            got[row], signals(query, query, Density.of(smaller).crowding)[0], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("count", [1, 2, 3, 10, 11, 12])
def test_small_corpora(count):
    """From one example on there is a number, and it is finite."""
    units = unit_rows(np.random.default_rng(1), count, 5)
    gallery = Gallery(units, np.zeros(count, np.int64), 1)
    density = Density.of(gallery)
    ((rows, block),) = LeaveOneOut(gallery).blocks()
    familiarity = Familiarity.fit(density.crowding, signals_left_out(density, rows, block, block))
    query = gallery.compare(unit_rows(np.random.default_rng(2), 4, 5))
    assert np.isfinite(familiarity.of(query, query)).all()
    assert not np.isnan(familiarity.threshold(0.95))


def test_a_search_finds_the_same(units):
    """Nearest others by a search of the k nearest, among many duplicates too."""
    several = Gallery(np.concatenate([units, np.repeat(units[:1], 30, axis=0)]), np.append(IDS, [0] * 30), 3)
    search = NearestRows(several.units, int8=False).search
    one, other = Density.of(several), Density.of(several, search=search)
    np.testing.assert_allclose(other.crowding, one.crowding, atol=1e-6)
    np.testing.assert_allclose(other.cosines, one.cosines, atol=1e-6)
    assert not (other.rows == np.arange(len(several.units))[:, None]).any()


def test_a_very_large_corpus_is_judged_by_label(units, monkeypatch):
    """Rows count as crowded as others of their label are on average, or as all are; the sample is not among them."""
    gallery, sample = Gallery(units, IDS, 3), np.arange(0, 28, 2)
    whole = Density.of(gallery)
    monkeypatch.setattr("lmm_classifier.neighbors.novelty._MOST_PAIRS", 700)
    some = Density.of(gallery, sample)
    beside = np.setdiff1d(np.flatnonzero(some.rows[:, 0] >= 0), sample)
    assert len(beside) == 12
    for label in range(3):
        np.testing.assert_allclose(some.crowding[label == IDS], whole.crowding[beside][IDS[beside] == label].mean())
    own = whole.cosines[sample, :10].mean(axis=1)
    around = some.crowding[whole.rows[sample, :10]].mean(axis=1)
    np.testing.assert_allclose(some.left_out(sample), -(1 - own) / around, rtol=1e-5)
    unheard = by_label(np.where(IDS == 1, np.nan, whole.crowding), gallery)
    np.testing.assert_allclose(unheard[IDS == 1], whole.crowding[IDS != 1].mean())


@pytest.mark.parametrize("bursts", [0.0, 0.5])
def test_a_very_large_corpus_keeps_what_is_promised(bursts, monkeypatch):
    """New pictures look as dense as examples that were left out, if some of the corpus are near-duplicates too."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30, 6000)
    units = clustered_rows(rng, [str(one) for one in ids], 24, spread=1.0)
    twins = rng.random(3000) < bursts
    units[3000:][twins] = units[:3000][twins] + rng.normal(size=(twins.sum(), 24)).astype(np.float32) * 0.01
    ids[3000:][twins] = ids[:3000][twins]
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    order = rng.permutation(6000)
    old, new = order[:5000], order[5000:]
    gallery, sample = Gallery(units[old], ids[old], 30), np.arange(0, 5000, 5)
    monkeypatch.setattr("lmm_classifier.neighbors.novelty._MOST_PAIRS", 10_000_000)
    density = Density.of(gallery, sample)
    rows, cosines = gallery.compare(units[new]).nearest_each(10)
    found = _relative(rows, cosines, density.crowding)
    for keep in (0.95, 0.9, 0.8):
        kept = (found >= np.quantile(density.left_out(sample), 1 - keep)).mean()
        assert abs(kept - keep) < 0.03


def test_duplicates_do_not_divide_by_zero():
    """A corpus of one picture many times: the same again is as usual, another one is not."""
    units = np.repeat(unit_rows(np.random.default_rng(1), 1, 5), 20, axis=0)
    gallery = Gallery(units, np.repeat([0, 1], 10), 2)
    density = Density.of(gallery)
    ((rows, block),) = LeaveOneOut(gallery).blocks()
    familiarity = Familiarity.fit(density.crowding, signals_left_out(density, rows, block, block))
    same, other = (gallery.compare(one) for one in (units[:1], unit_rows(np.random.default_rng(3), 1, 5)))
    assert familiarity.of(same, same)[0] >= familiarity.threshold(0.95)
    assert familiarity.of(other, other)[0] < familiarity.threshold(0.95)


def test_strangers_are_less_familiar(units):
    """Rows near a label look familiar, rows anywhere else do not."""
    gallery = Gallery(units[:20], IDS[:20], 3)
    density = Density.of(gallery)
    ((rows, block),) = LeaveOneOut(gallery).blocks()
    familiarity = Familiarity.fit(density.crowding, signals_left_out(density, rows, block, block))
    strangers = gallery.compare(unit_rows(np.random.default_rng(9), 50, 16))
    assert (familiarity.of(strangers, strangers) < np.median(familiarity.left_out)).mean() > 0.9


def test_state_survives_and_damage_is_seen(units):
    """The same numbers come back; another corpus or a NaN is refused."""
    gallery = Gallery(units, IDS, 3)
    density = Density.of(gallery)
    ((rows, block),) = LeaveOneOut(gallery).blocks()
    familiarity = Familiarity.fit(density.crowding, signals_left_out(density, rows, block, block))
    again = Familiarity.restore(familiarity.state(), len(units))
    query = gallery.compare(unit_rows(np.random.default_rng(2), 4, 16))
    np.testing.assert_array_equal(again.of(query, query), familiarity.of(query, query))
    with pytest.raises(ValueError, match="expected 29 and 5"):
        Familiarity.restore(familiarity.state(), 29)
    with pytest.raises(ValueError, match="not finite"):
        Familiarity.restore({**familiarity.state(), "centre": np.full(5, np.nan)}, len(units))
