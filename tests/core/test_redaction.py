"""Secrets are removed before text is cut, in every form in which a server, a library or a URL may repeat them."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.redaction import quote_foreign, redact

KEY = "sk-proj-Zk3/9+aB7=xQ_m2 Yw8"


@pytest.mark.parametrize(
    "form",
    [KEY, json.dumps(KEY), quote(KEY), quote(KEY, safe=""), base64.b64encode(KEY.encode()).decode(), KEY[:-1], KEY[1:],
     KEY[:4] + "****" + KEY[10:], KEY[5:14]],
)  # fmt: skip
def test_a_key_in_any_form_is_removed(form):
    """As it is, escaped, encoded, cut, or partly masked: no 8 characters in a row remain."""
    shown = redact(f"wrong key {form}!", [KEY])
    assert not any(part in shown for part in (KEY[i : i + 8] for i in range(len(KEY) - 7)))
    assert base64.b64encode(KEY.encode()).decode()[4:12] not in shown


@pytest.mark.parametrize("before", ["", "u:", "me:", "Bearer "])
def test_a_key_inside_encoded_text_is_removed(before):
    """A server may repeat a header of user and password as it was sent, or as bytes."""
    encoded = base64.b64encode(f"{before}{KEY}:x".encode()).decode()
    shown = redact(f"got {encoded} and {KEY.encode().hex()}", [KEY])
    own = encoded[-(-len(before) * 4 // 3) : (len(before) + len(KEY)) * 4 // 3]  # characters of the key alone
    assert not any(own[i : i + 8] in shown for i in range(len(own) - 7))
    assert KEY.encode().hex()[4:12] not in shown


@pytest.mark.parametrize("before", range(150, 220))
def test_a_key_at_the_cut_is_removed(before):
    """Whatever stands before it, no part of a key is left where the text is cut."""
    shown = quote_foreign("x" * before + KEY + " is wrong", [KEY])
    assert not any(KEY[:length] in shown for length in range(3, len(KEY)))
    assert len(shown) <= 200


@given(st.text(max_size=300), st.text("abcdef0123456789-_", min_size=9, max_size=40), st.integers(0, 300))
def test_no_text_hides_a_key(text, key, place):
    """Whatever stands around a key, it is not shown."""
    assert key not in redact(text[:place] + key + text[place:], [key])


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("http://me:hush@proxy:3128/", "hush"),
        ("http://me:hu/sh@proxy/", "hu/sh"),
        ("see https://h/v1?key=hush&x=1", "hush"),
        ("https://h/?api_key=hush#a", "hush"),
        ("https://h/?x=1&access_token=hush", "hush"),
        ("Authorization: Bearer hush12", "hush"),
        ("{'authorization': 'hush12'}", "hush"),
        ("illegal header value b'Bearer hush-hush'", "hush"),
        ("x-api-key: hush", "hush"),
        ("api_key=hush", "hush"),
    ],
)
def test_what_looks_like_a_secret_is_removed(text, secret):
    """Passwords in URLs, keys in queries and headers are removed without being known."""
    assert secret not in redact(text)


@pytest.mark.parametrize("text", ["http://127.0.0.1:8000/v1", "no answer: ConnectError", "basic authentication", ""])
def test_other_text_stays(text):
    """What is no secret is shown."""
    assert quote_foreign(text) == text


def test_control_characters_are_not_shown():
    """A server cannot write escape sequences or lines to a terminal or a log."""
    assert quote_foreign("\x1b[31mred\r\nline\u202e\x00") == "�[31mred line��"
