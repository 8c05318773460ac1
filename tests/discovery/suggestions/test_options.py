"""What is asked of a suggestion is checked."""

import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.discovery.suggestions.options import SuggestionOptions


@pytest.mark.parametrize("wrong", [{"count": 0}, {"batch": 0}, {"by": "size"}])
def test_impossible_options_are_refused(wrong):
    """The message says what was expected and what came."""
    with pytest.raises(ConfigError, match=r"Expected .*got"):
        SuggestionOptions(**wrong)


def test_batches():
    """All are one batch unless a size is given; the last one may be smaller."""
    assert {SuggestionOptions(count=7).batch_of(place) for place in range(7)} == {1}
    assert [SuggestionOptions(count=7, batch=3).batch_of(place) for place in range(7)] == [1, 1, 1, 2, 2, 2, 3]
