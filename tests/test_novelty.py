"""Familiarity against brute force, and at the edges."""

import numpy as np
import pytest

from lmm_classifier.gallery import Gallery
from lmm_classifier.index.nearest_rows import NearestRows
from lmm_classifier.leave_one_out import LeaveOneOut
from lmm_classifier.novelty import Density, Familiarity, signals, signals_left_out
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


def test_a_sample_of_a_very_large_corpus(units, monkeypatch):
    """What is known of a sample is as exact as of all; other rows are taken to be as crowded as their label."""
    gallery, sample = Gallery(units, IDS, 3), np.array([2, 5])
    whole = Density.of(gallery, sample)
    monkeypatch.setattr("lmm_classifier.novelty._MOST_PAIRS", 100)
    some = Density.of(gallery, sample)
    np.testing.assert_array_equal(some.left_out(sample), whole.left_out(sample))
    known = some.rows[:, 0] >= 0
    assert known[sample].all()
    assert not known.all()
    np.testing.assert_array_equal(some.crowding[known], whole.crowding[known])
    for label in np.unique(IDS[known]):
        others = some.crowding[(label == IDS) & ~known]
        np.testing.assert_allclose(others, whole.crowding[(label == IDS) & known].mean())
    unheard = ~np.isin(IDS, IDS[known])
    np.testing.assert_allclose(some.crowding[unheard], whole.crowding[known].mean())


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
