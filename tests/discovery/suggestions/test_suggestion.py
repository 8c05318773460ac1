"""Suggestions as plain values."""

import json

from lmm_classifier.core.progress import Skipped
from lmm_classifier.discovery.suggestions.suggestion import Suggestion, Suggestions


def test_nothing_is_suggested():
    """No priority, and the files that failed are counted."""
    skipped = (Skipped("a.png", "no image", "corrupt"), Skipped("b.txt", "no image", "ignored"))
    nothing = Suggestions([], None, 0, 2, 0, 0, None, skipped)
    assert nothing.priorities() == {}
    assert json.loads(json.dumps(nothing.to_dict()))["unreadable"] == 1


def test_priorities_stay_above_zero():
    """A labeling tool takes 0 as none."""
    some = [Suggestion(rank, 1, f"{rank}.png", "new", 1.0, 1.0) for rank in (1, 2)]
    assert Suggestions(some, None, 2, 2, 0, 0, 1).priorities() == {"1.png": 1.0, "2.png": 0.5}
