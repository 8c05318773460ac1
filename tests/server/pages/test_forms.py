"""Forms lead back to addresses of this server."""

import pytest

from lmm_classifier.server.pages.forms import label_of, local, number


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/review/3?x=1", "/review/3?x=1"),
        ("", "/"),
        ("review", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\nLocation: x", "/"),
        ("/login", "/"),
    ],
)
def test_only_addresses_of_this_server(address, expected):
    """Others become the first page."""
    assert local(address) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("7", 7), ("-1", 0), ("x", 0), ("٣", 0), ("9" * 18, 10**9), ("9" * 30, 0)]
)
def test_numbers_of_addresses_never_fail(text, expected):
    """Whatever somebody writes there."""
    assert number(text) == expected


@pytest.mark.parametrize(
    ("form", "label"),
    [
        ({"label": [" dress "]}, "dress"),  # a keyboard of a phone adds white space
        ({"label": ["two words"]}, "two words"),
        ({"choice": ["%20dress"], "label": ["ignored"]}, " dress"),  # a label that the index has
    ],
)
def test_the_label_of_a_form(form, label):
    """Typed text is trimmed, and a label that was chosen is not."""
    assert label_of(form) == label
