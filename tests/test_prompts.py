"""The question is pure text, and labels in it are only ever text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.prompt_template import DEFAULT_PROMPT_TEMPLATE, check_template
from lmm_classifier.rerank.prompts import escape_label, question


def test_default_question():
    """Options come first, then the picture, then the request."""
    before, after = question(DEFAULT_PROMPT_TEMPLATE, ["stripes", "polka dots"])
    assert before == "Which of these does the picture show?\nA. stripes\nB. polka dots\n"
    assert after == "\nAnswer with the letter of one option."


def test_picture_comes_first_without_its_placeholder():
    """A template without {image} puts the picture before the text."""
    assert question("Choose:\n{options}", ["a"]) == ("", "Choose:\nA. a")


def test_letters_follow_the_order_of_the_labels():
    """Reordering the labels moves them along the letters; 26 is the limit."""
    assert question("{options}", ["x", "y"])[1] == "A. x\nB. y"
    assert question("{options}", ["y", "x"])[1] == "A. y\nB. x"
    assert question("{options}", [str(i) for i in range(26)])[1].endswith("Z. 25")
    for count in (0, 27):
        with pytest.raises(ValueError, match="1 to 26"):
            question("{options}", ["x"] * count)


def test_placeholders_inside_labels_are_not_filled():
    """A label that looks like a placeholder stays the text it is."""
    before, after = question(DEFAULT_PROMPT_TEMPLATE, ["{image}", "{options}"])
    assert "A. {image}\nB. {options}" in before
    assert "{" not in after


@given(st.text(max_size=200))
def test_labels_are_harmless(label):
    """Whatever a label is: one line, bounded, printable, no control token."""
    escaped = escape_label(label)
    assert len(escaped) <= 80
    assert "\n" not in escaped
    assert "<|" not in escaped
    assert "|>" not in escaped
    assert escaped.isprintable()


@given(st.text(max_size=60))
def test_templates_are_filled_or_refused(template):
    """A template that passes the check can be filled with any label."""
    try:
        check_template(template)
    except ValueError:
        return
    before, after = question(template, ["one label"])
    assert "A. one label" in before + after
