"""Groups pass the test where they are less familiar than a known label would be."""

import numpy as np
import pytest

from lmm_classifier.discovery.proposals.group_test import UsualFamiliarity, unfamiliar_groups
from tests.discovery.proposals.made import CUT, around, folder, known


def drawn(between, within, labels=400, size=30, seed=0):
    rng = np.random.default_rng(seed)
    means = between * rng.normal(size=labels)
    values = np.repeat(means, size) + within * rng.normal(size=labels * size)
    return values, np.repeat(np.arange(labels), size)


@pytest.mark.parametrize(("between", "within"), [(0.5, 1.0), (0.0, 1.0), (1.0, 0.1)])
def test_the_spreads_are_found(between, within):
    """Between labels and within them, from many examples."""
    usual = UsualFamiliarity.of(*drawn(between, within))
    assert usual.between == pytest.approx(between, abs=0.1)
    assert usual.within == pytest.approx(within, abs=0.03)


def test_few_groups_of_known_labels_are_called_new():
    """About 5 of 100: the exact 99.9% bound of the binomial distribution of 400 groups is 35."""
    usual = UsualFamiliarity.of(*drawn(0.5, 1.0))
    familiarity, groups = drawn(0.5, 1.0, size=8, seed=1)
    assert 5 <= len(np.unique(groups[usual.is_new(familiarity, groups)])) <= 35


def test_a_group_is_called_new_by_its_mean():
    """Each member alone would not be."""
    usual = UsualFamiliarity(0.0, 0.2, 1.0, -1.7)
    familiarity = np.array([-1.2] * 8 + [-1.2])
    groups = np.array([0] * 8 + [1])
    assert usual.is_new(familiarity, groups).tolist() == [True] * 8 + [False]


def test_one_label_and_one_example():
    """There is no spread between labels, or none at all."""
    assert UsualFamiliarity.of(np.array([0.0, 1.0, 2.0]), np.zeros(3, np.int64)).between == 0
    alone = UsualFamiliarity.of(np.array([0.5]), np.zeros(1, np.int64))
    assert (alone.mean, alone.between, alone.within, alone.least) == (0.5, 0, 0, 0.5)


def test_tested_groups_are_new_labels():
    """The largest first, whatever the order of the images; images of a known label are in none."""
    embeddings, familiarity, names, axes = folder({0: 20, 5: 8, 7: 12})
    usual = UsualFamiliarity(0.0, 0.3, 1.0, -1.9)
    found = unfamiliar_groups(embeddings, familiarity, names, known().sums, CUT, usual)
    assert [np.unique(axes[rows]).tolist() for rows in found] == [[7], [5]]
    shuffled = np.random.default_rng(1).permutation(len(names))
    again = unfamiliar_groups(
        embeddings[shuffled], familiarity[shuffled], [names[row] for row in shuffled], known().sums, CUT, usual
    )
    assert [sorted(shuffled[rows].tolist()) for rows in again] == [rows.tolist() for rows in found]
    assert unfamiliar_groups(embeddings[:0], familiarity[:0], [], known().sums, CUT, usual) == []
    assert unfamiliar_groups(embeddings[:20], familiarity[:20], names[:20], known().sums, CUT, usual) == []


def test_a_group_next_to_a_known_label_is_that_label():
    """However unfamiliar its images are."""
    embeddings = around(1, 10, 4)
    usual = UsualFamiliarity(0.0, 0.3, 1.0, -1.9)
    far = unfamiliar_groups(embeddings, np.full(10, -4.0), [f"{row}" for row in range(10)], known().sums, CUT, usual)
    assert sum(map(len, far)) < 10
