"""Statistics by parts are those of all rows, with the same bits whatever the order of arrival."""

from itertools import pairwise

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.distributed.statistics.part_statistics import PartStatistics, reduce_parts
from lmm_classifier.neighbors.metric import fit_scatter

LABELS, WIDTH = 40, 24


def drawn(count=3000, nonnegative=False):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, LABELS - 1, count)  # the last label has no row
    rows = rng.normal(size=(LABELS, WIDTH))[ids] + rng.normal(size=(count, WIDTH)) * np.linspace(0.05, 1, WIDTH)
    rows = np.abs(rows) if nonnegative else rows
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return rows, ids, [f"{number:064x}" for number in range(count)]


def parts_of(rows, ids, contents, count=7):
    edges = np.linspace(0, len(rows), count + 1).astype(int)
    return {
        f"{number}": PartStatistics.of(rows[a:b], ids[a:b], contents[a:b])
        for number, (a, b) in enumerate(pairwise(edges))
    }


def matrix(scatter):
    return (scatter.axes * scatter.variances) @ scatter.axes.T


@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_scatter_by_parts_is_that_of_two_passes(nonnegative):
    """To 1e-12 relative; also where rows are square roots, which one bit of all parts decides."""
    rows, ids, contents = drawn(nonnegative=nonnegative)
    expected = fit_scatter(rows, ids, LABELS)
    found = reduce_parts(sorted(parts_of(rows, ids, contents).items()), LABELS, WIDTH).scatter()
    assert found.power_normalize == expected.power_normalize == nonnegative
    assert found.freedom == expected.freedom
    scale = np.abs(matrix(expected)).max()
    assert np.abs(matrix(found) - matrix(expected)).max() <= 1e-12 * scale
    np.testing.assert_allclose(found.means, expected.means, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.center, expected.center)


def test_one_negative_number_decides_for_all_parts():
    """Then no root is taken."""
    rows, ids, contents = drawn(nonnegative=True)
    rows[1234, 5] *= -1
    total = reduce_parts(sorted(parts_of(rows, ids, contents).items()), LABELS, WIDTH)
    assert not total.scatter().power_normalize
    with pytest.raises(ValueError, match="without negative numbers"):
        total.scatter(power_normalize=True)


def test_the_order_of_arrival_changes_no_bit():
    """Parts are sorted by name before they are added."""
    rows, ids, contents = drawn()
    parts = list(parts_of(rows, ids, contents, count=11).items())
    totals = []
    for seed in (1, 2):
        np.random.default_rng(seed).shuffle(parts)
        totals.append(reduce_parts(sorted(parts), LABELS, WIDTH))
    assert totals[0].plain.products.tobytes() == totals[1].plain.products.tobytes()
    assert totals[0].means.tobytes() == totals[1].means.tobytes()
    assert totals[0].scatter().metric(0.3).projection.tobytes() == totals[1].scatter().metric(0.3).projection.tobytes()


def test_the_digest_depends_on_the_contents_alone():
    """Not on the parts."""
    rows, ids, contents = drawn(count=50)
    digests = {
        reduce_parts(sorted(parts_of(rows, ids, contents, count).items()), LABELS, WIDTH).digest for count in (1, 5)
    }
    assert len(digests) == 1
    assert PartStatistics.of(rows, ids, [*contents[:-1], "other"]).digest not in digests


def test_counts_and_means_are_those_of_the_rows():
    """Zero for a label without rows."""
    rows, ids, contents = drawn(count=200)
    total = reduce_parts(sorted(parts_of(rows, ids, contents, 3).items()), LABELS, WIDTH)
    assert total.counts.tolist() == np.bincount(ids, minlength=LABELS).tolist()
    assert not total.means[-1].any()
    np.testing.assert_allclose(total.means[ids[0]], rows[ids == ids[0]].mean(axis=0, dtype=np.float64), atol=1e-12)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_a_part_comes_back_from_its_arrays(nonnegative):
    """With the same bits; damaged ones are told."""
    part = PartStatistics.of(*drawn(count=30, nonnegative=nonnegative))
    again = PartStatistics.from_arrays(part.to_arrays())
    assert {name: array.tobytes() for name, array in part.to_arrays().items()} == {
        name: array.tobytes() for name, array in again.to_arrays().items()
    }
    for name, array in (("sums", part.plain.sums[1:]), ("products", part.plain.products[1:])):
        with pytest.raises(IndexFileError, match="damaged"):
            PartStatistics.from_arrays({**part.to_arrays(), name: array})
    with pytest.raises(IndexFileError, match="damaged"):
        PartStatistics.from_arrays({})


def test_what_does_not_fit_is_refused():
    """Names out of order, another width, another number of labels."""
    rows, ids, contents = drawn(count=20)
    part = PartStatistics.of(rows, ids, contents)
    with pytest.raises(ValueError, match="order of their names"):
        reduce_parts([("b", part), ("a", part)], LABELS, WIDTH)
    with pytest.raises(ValueError, match="rows of 5 numbers"):
        reduce_parts([("a", part)], LABELS, 5)
    with pytest.raises(ValueError, match="2 labels"):
        reduce_parts([("a", part)], 2, WIDTH)
    with pytest.raises(ValueError, match="20 rows"):
        PartStatistics.of(rows, ids[1:])
