"""A new label that cannot be told from another one is refused; those that an index has are taken as they are."""

import logging

import pytest

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.index.build.new_labels import check_new


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("red ", r"'red ' has white space at its beginning or end, which cannot be seen. The index has 'red'"),
        ("re\u200bd", r"'re\\u200bd' has the character U\+200B, which cannot be seen. The index has 'red'"),
        ("blue\u202e", r"'blue\\u202e' has the character U\+202E, which cannot be seen. Write 'blue'"),
        ("odd one", r"'odd one' looks the same as another one. The index has 'odd \\xa0one': use that one, or rename"),
    ],
)
def test_what_looks_the_same_is_refused(name, message):
    """The message shows the escapes, and names the label that is there."""
    with pytest.raises(DatasetError, match=message):
        check_new([name], ["red", "odd \u00a0one"])


def test_two_new_labels_that_look_the_same_are_refused():
    """One call may bring both."""
    with pytest.raises(DatasetError, match="looks the same"):
        check_new(["a b", "a\u00a0b"], [])


def test_the_labels_of_an_index_are_taken_as_they_are(caplog):
    """A folder may have any name."""
    check_new(["odd  one", "\u202ex"], ["odd  one", "\u202ex", "\u202ex "])
    assert not caplog.records


def test_another_case_is_a_warning(caplog):
    """It may be meant."""
    with caplog.at_level(logging.WARNING):
        check_new(["Red", "\uff52ed"], ["red"])
    assert len(caplog.records) == 2
