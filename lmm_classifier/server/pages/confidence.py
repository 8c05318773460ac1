"""Words for a calibrated probability. An index without a calibration has not earned them."""

from __future__ import annotations

_WORDS = ((0.97, "almost certainly"), (0.8, "probably"), (0.5, "perhaps"), (0.0, "a guess:"))


def confidence_words(score: float) -> str:
    """Return the words for the probability that a label is right, 0 to 1.

    Example:
        >>> from lmm_classifier.server.pages.confidence import confidence_words
        >>> confidence_words(0.83)
        'probably'
    """
    return next(words for least, words in _WORDS if score >= least)
