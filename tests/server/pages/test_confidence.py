"""Words for probabilities."""

import pytest

from lmm_classifier.server.pages.confidence import confidence_words


@pytest.mark.parametrize(
    ("score", "words"),
    [(1, "almost certainly"), (0.97, "almost certainly"), (0.96, "probably"), (0.5, "perhaps"), (0.0, "a guess:")],
)
def test_words(score, words):
    """Each bound belongs to the stronger words."""
    assert confidence_words(score) == words
