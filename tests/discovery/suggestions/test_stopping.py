"""How many images decide themselves at a target precision."""

from types import SimpleNamespace

import numpy as np
import pytest

from lmm_classifier.discovery.suggestions.stopping import stopping
from lmm_classifier.discovery.votes import Votes

NOT_CALIBRATED = SimpleNamespace(retriever=SimpleNamespace(stored=None))


def votes(rows):
    """Votes of rows (reason, score)."""
    reasons, scores = zip(*rows)
    zeros = np.zeros(len(rows))
    return Votes(("a",), zeros.astype(int), np.array(scores), zeros, zeros, list(reasons), ["a"] * len(rows))


def test_the_best_are_accepted_while_the_mean_holds():
    """Written down by hand: .99, .97 and .9 have the mean .953, with .6 it is .865; unfamiliar ones never count."""
    given = votes([("confident", 0.99), ("ambiguous", 0.6), ("ambiguous", 0.97), ("novel", 0.99), ("ambiguous", 0.9)])
    advice = stopping(NOT_CALIBRATED, given, [10, 11, 12, 13, 14], 0.95)
    assert (advice.undecided, advice.open, advice.deciding, advice.items) == (5, 4, 2, (12, 14))
    assert advice.precision == pytest.approx((0.99 + 0.97 + 0.9) / 3)
    assert (advice.may_stop, advice.calibrated) == (False, False)
    assert advice.share == pytest.approx(3 / 5)


def test_nothing_is_undecided():
    """Then a person may stop."""
    given = votes([("confident", 0.9)]).at([])
    advice = stopping(NOT_CALIBRATED, given, [])
    assert (advice.share, advice.may_stop, advice.precision, advice.target) == (1.0, True, None, 0.95)
