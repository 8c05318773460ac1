"""One image of known truth, with what was answered."""

from pathlib import Path

import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision
from lmm_classifier.evaluation.labeled_result import LabeledResult

CANDIDATES = (Candidate("a", 0.4, ()), Candidate("b", 0.6, ()))  # a reranker has moved "a" to the front


@pytest.mark.parametrize(
    ("decision", "given", "was_asked"),
    [
        (Decision("accept", "reranked"), "a", True),
        (Decision("accept", "reranker_failed"), "a", True),
        (Decision("accept", "confident"), "a", False),
        (Decision("reject", "novel"), None, False),
    ],
)
def test_what_was_given_and_what_would_have_been(decision, given, was_asked):
    """An unknown image was given no label, though it has a best one; retrieval alone had another order."""
    label = "unknown" if given is None else given
    result = Classification(label, 0.4, used_reranker=was_asked, decision=decision, candidates=CANDIDATES)
    entry = LabeledResult(Path("x.png"), result, truth="a")
    assert (entry.given_label, entry.was_asked) == (given, was_asked)
    assert (entry.best_label, entry.best_label_of_retrieval) == ("a", "b")


def test_an_image_without_candidates_has_no_best_label():
    """An unreadable file has none."""
    result = Classification("unknown", 0.0, False, Decision("reject", "unreadable"), ())
    entry = LabeledResult(Path("x.png"), result)
    assert (entry.best_label, entry.best_label_of_retrieval, entry.given_label) == (None, None, None)
