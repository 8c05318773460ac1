"""Remove secrets from text before any of it is shown or cut: keys, values of headers, passwords in URLs."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = "…"
_FRAGMENT = 8  # characters of a secret in a row that are never shown: a server may cut or mask what it repeats
_LONGEST = 4000  # characters that are searched; more is never shown
_NAMES = r"[\w.-]*(?:key|token|secret|passw(?:or)?d|signature|credential|auth)[\w.-]*|sig|code"
_PATTERNS = (
    (re.compile(r"(?<=://)[^\s'\"<>]*@"), f"{HIDDEN}@"),  # user and password of a URL
    (re.compile(rf"(?i)(?<=[?&;#])({_NAMES})=[^\s'\"<>&]+"), rf"\1={HIDDEN}"),
    (re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?(?:\w+\s+)?)[^\s'\",;}]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{6,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b((?:x-)?api[-_]?key['\"]?\s*[:=]\s*['\"]?)[^\s'\",;}]+"), rf"\1{HIDDEN}"),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without the secrets, and without what looks like a password or key in a URL or header.

    A secret is found as it is, as JSON, percent-encoded, in hexadecimal or base64, and in fragments of 8 or more
    characters.

    Args:
        text: to be shown; at most its first 4000 characters are returned.
        secrets: values that must not appear.
    """
    text = text[:_LONGEST]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = _without(text, secret)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def quote_foreign(text: str, secrets: Iterable[str] = (), limit: int = 200) -> str:
    """Return foreign text on one line: without secrets, then without control characters, then cut to `limit`."""
    text = redact(" ".join(text[:_LONGEST].split()), secrets)
    text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _without(text: str, secret: str) -> str:
    safe = secret.encode("utf-8", "replace").decode()
    for form in {
        secret,
        json.dumps(secret)[1:-1],
        quote(safe, safe=""),
        quote_plus(safe),
        secret.encode("utf-8", "surrogatepass").hex(),
        *_in_base64(secret.encode("utf-8", "surrogatepass")),
    }:
        text = text.replace(form, HIDDEN)
        if len(form) > _FRAGMENT:
            text = _without_fragments(text, {form[i : i + _FRAGMENT] for i in range(len(form) - _FRAGMENT + 1)})
    return text


def _in_base64(secret: bytes) -> Iterator[str]:
    """Yield what base64 makes of a secret, alone and inside of a text such as `user:secret`."""
    yield b64encode(secret).decode()
    for before in range(3):
        characters = b64encode(bytes(before) + secret).decode()
        whole = (before + len(secret)) * 4 // 3  # the last character may depend on what follows
        yield characters[-(-before * 4 // 3) : whole]


def _without_fragments(text: str, fragments: set[str]) -> str:
    """Replace each run of characters that is covered by `fragments`, all of one length."""
    covered = bytearray(len(text))
    for start in range(len(text) - _FRAGMENT + 1):
        if text[start : start + _FRAGMENT] in fragments:
            covered[start : start + _FRAGMENT] = b"\1" * _FRAGMENT
    if not any(covered):
        return text
    shown = "".join("\0" if hidden else character for character, hidden in zip(text, covered))
    return re.sub("\0+", HIDDEN, shown)
