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
    hidden_in,
    look,
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


HIDDEN = {
    " red": "white space at its beginning or end",
    "red\u00a0": "white space at its beginning or end",
    "a  b": "several spaces in a row",
    "a \u3000b": "several spaces in a row",
    "\u202egnp": "the character U+202E",
    "zero\u200cwidth": "the character U+200C",
    "\u05d0\u200d\u05d1": "the character U+200D",
    "\u200fmark": "the character U+200F",
    "h\u00adat": "the character U+00AD",
    "hat\ufe0f": "the character U+FE0F",
    "a\tb": "the character U+0009",
    "a\u2028b": "the character U+2028",
    "x\u3164": "the character U+3164",
    "x\U000e0067": "the character U+E0067",
    "\u0645\u200c": "the character U+200C",  # at the end it joins nothing
}
SEEN = [
    "red dress",
    "red\u00a0dress",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
    "\u0915\u094d\u200d\u0937",  # Hindi
    "\u09b0\u200d\u09cd\u09af",  # Bengali
    "\U0001f469\U0001f3fd\u200d\U0001f680",  # a woman astronaut
    "\U0001f3f3\ufe0f\u200d\U0001f308",
    "1\ufe0f\u20e3",
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "\u845b\U000e0100",
    "\u05de\u05b7\u05d4",
    "\udcff",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_what_cannot_be_seen_is_named(text):
    """The look is what is left; it holds nothing that is hidden."""
    assert hidden_in(text) == HIDDEN[text]
    assert hidden_in(look(text)) == ""


@pytest.mark.parametrize("text", SEEN)
def test_what_a_script_needs_is_seen(text):
    """Joiners in Persian, Hindi and emoji, and the variants of characters."""
    assert hidden_in(text) == ""


@given(text=st.text(st.sampled_from("aA \u200c\u200d\ufe0f\u202e\t\u0645\u094d\u2764\u00a0\u0301e")))
def test_a_look_is_stable(text):
    """A label that looks so has this look, and labels with one look are alike."""
    assert look(look(text)) == look(text)
    assert visible(look(text)) == visible(text)


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
