"""Names of labels become one segment of an address, whatever they hold."""

from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.server.pages.environment import exact, segment, text_of


@given(st.text(min_size=1))
def test_any_label_is_one_segment(label):
    """No character of it has a meaning in an address."""
    text = segment(label)
    assert text_of(text) == label
    assert text not in ("%2E", "%2E%2E")  # browsers take these for folders
    assert not set(text) & set("/?#.\\ \"'<>&")


@given(st.text(st.characters(codec="utf-8")))
def test_fields_hold_texts_exactly(text):
    """Also marks that are not printed; markup is escaped."""
    assert exact(text).unescape() == text
    assert not set(exact(text)) & set("<>\"'")


def test_a_text_that_no_field_can_hold_is_left_out():
    """A person then writes it anew."""
    assert exact("a\udc80") == ""
