"""Text from outside becomes safe to show, and readable text stays as it is."""

import pytest

from lmm_classifier.core.text import escape_unprintable


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("", ""),
        ("stripes/café 猫 <b> & \\n", "stripes/café 猫 <b> & \\n"),
        ("a\nb\tc\x1b[31m\x00", "a\\nb\\tc\\x1b[31m\\x00"),
        ("caf\udce9", "caf\\udce9"),
        ("gpj\u202e.exe", "gpj\\u202e.exe"),
        ("\u2028\U000e0041", "\\u2028\\U000e0041"),
    ],
)
def test_unprintable_characters_are_escaped(text, escaped):
    """Control characters, line breaks, lone surrogates and direction marks are escaped; the rest is not."""
    assert escape_unprintable(text) == escaped
    assert escape_unprintable(text).isprintable()
