"""Limits from the data are those of the distribution, and a few true pairs do not move them."""

import numpy as np
import pytest

from lmm_classifier.core.tail import chance_limit, tail_threshold


@pytest.mark.parametrize("quantiles", [(0.9, 0.99), (0.5, 0.9)])
@pytest.mark.parametrize("probability", [0.01, 0.001, 0.0001])
def test_the_tail_of_an_exponential_distribution(probability, quantiles):
    """The value that is exceeded with a probability is known: -log(probability)."""
    values = np.random.default_rng(0).exponential(size=100_000)
    assert tail_threshold(values, probability, quantiles) == pytest.approx(-np.log(probability), rel=0.05)


def test_a_few_outliers_do_not_matter():
    """One true pair of 200 moves the limit little; too few values give none."""
    values = np.random.default_rng(0).exponential(size=2000)
    with_copies = np.concatenate([values, np.full(10, 50.0)])
    assert tail_threshold(with_copies, 0.001) == pytest.approx(tail_threshold(values, 0.001), rel=0.35)
    assert tail_threshold(values[:49], 0.001) is None


def test_the_best_pair_of_an_item_tells_nothing_of_chance():
    """Each of 300 items has one copy and four ordinary partners; the limit lies between both."""
    rng = np.random.default_rng(0)
    pairs = [(2 * number, 2 * number + 1) for number in range(150)]
    agreement = [0.97] * 150
    for item in range(300):
        for other in rng.choice(300, 4, replace=False):
            if item // 2 != other // 2:
                pairs.append((item, int(other)))
                agreement.append(float(rng.normal(0.1, 0.1)))
    limit = chance_limit(np.array(pairs), np.array(agreement), 0.001)
    assert max(agreement[150:]) - 0.1 < limit < 0.9
    assert chance_limit(np.empty((0, 2), np.int64), np.empty(0), 0.001) is None
