"""URLs of datasets: which are read, and what they must not hold, because an index stores and prints them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.redaction import redact

SCHEMES = ("s3", "gs", "http", "https")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:::[a-z0-9]+)*://")


def is_url(text: str) -> bool:
    """Return whether a text is a URL and not a path. A drive such as `C:` is none."""
    return _URL.match(text) is not None or ("::" in text and "://" in text)


def checked_url(url: str) -> str:
    """Return a URL that may be stored, without a slash at its end; raise DatasetError for any other."""
    shown = redact(url)
    if "::" in url:
        raise DatasetError(f"{shown} is a chain of URLs. Expected one URL of the archive, table or folder itself.")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise DatasetError(f"{shown} is not a URL: {error}.") from None
    if parts.scheme not in SCHEMES:
        raise DatasetError(f"{shown}: expected a URL that begins with {', '.join(f'{name}://' for name in SCHEMES)}.")
    if "@" in parts.netloc:
        raise DatasetError(
            f"{shown} holds a user name or a password, which would be stored in the index. Give the URL without it, "
            "and credentials as the library of the scheme expects them in the environment."
        )
    if "?" in url or "#" in url:
        raise DatasetError(
            f"{shown.partition('?')[0].partition('#')[0]} is followed by a query or a fragment. A signed URL would be "
            "stored in the index, and ends soon. Give the plain URL."
        )
    if not parts.netloc or any(character.isspace() or not character.isprintable() for character in url):
        raise DatasetError(f"{url!r} is not a URL of a dataset: expected {parts.scheme}://HOST-OR-BUCKET/PATH.")
    if ".." in parts.path.split("/"):
        raise DatasetError(f"{shown} has '..' in its path. Give the URL of the dataset itself.")
    return url.rstrip("/")
