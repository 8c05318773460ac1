"""Labels have one normal form; those that a reader cannot tell apart are found; the label of unknowns is never one."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.labels import (
    alike,
    alike_between,
    alike_warnings,
    normal_label,
    require_label,
    unknown_clash,
    visible,
)

SAME = ["hat", "Hat", "HAT", "hat ", " hat", "h\u200bat", "hat\ufe0f", "\ufeffhat", "hat\u00ad", "\uff48at", "hat\t"]


@given(text=st.text())
def test_the_normal_form_is_stable(text):
    """It does not change when it is made again, and every Unicode form of a label leads to it."""
    label = normal_label(text)
    assert normal_label(label) == label
    assert normal_label(unicodedata.normalize("NFD", text)) == label


@pytest.mark.parametrize("other", SAME[1:])
def test_labels_that_look_the_same_are_alike(other):
    """Case, spaces, invisible characters and compatible forms make no difference that a reader sees."""
    assert alike(["hat", other, "coat"]) == [sorted(["hat", other])]
    (warning,) = alike_warnings(["hat", other])
    assert "'hat'" in warning
    assert alike_between(["coat", other], ["hat"]) == [(other, "hat")]


@pytest.mark.parametrize("others", [("hats", "ha t", "h\u00e4t", "at"), ("\u05e9\u05c1", "\u05e9"), ("ka", "か", "が")])
def test_different_labels_are_not_alike(others):
    """Marks that a script needs are seen; a space inside is too."""
    assert alike(["hat", *others]) == []
    assert alike_between(others, ["hat"]) == []
    assert alike_between(["hat"], ["hat"]) == []


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\t\n", "a\0b", "\ufe0f", 3, None, b"a"])
def test_a_label_has_something_to_see(text):
    """Anything else is refused by its escaped name."""
    with pytest.raises(DatasetError, match="is no label"):
        require_label(text)
    assert require_label("cafe\u0301") == "caf\u00e9"
    assert visible("\udcff")  # a name that is not UTF-8


@pytest.mark.parametrize("label", ["unknown", "Unknown", "UNKNOWN ", "un\u200bknown"])
def test_no_label_is_like_that_of_unknown_images(label):
    """The message names both, and says what to do."""
    message = unknown_clash(["a", label], "unknown")
    assert repr(label) in message
    assert "Rename the label, or set unknown_label" in message
    assert unknown_clash(["a", label], "none of these") is None
    assert unknown_clash(["unknowns", "not known"], "unknown") is None
