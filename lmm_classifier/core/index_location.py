"""Where an index is: a path, or the URL of a table on an object store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.paths import absolute, expand_home
from lmm_classifier.core.redaction import redact

SCHEMES = ("s3", "gs", "az")
IndexLocation: TypeAlias = Path | str
"""A text is always a URL that `index_location` has checked."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BROKEN = re.compile(r"([a-z0-9]+):/(?!/)(.+)")  # what `Path` makes of a URL


def index_location(location: Path | str) -> IndexLocation:
    """Return a path, with the home folder in the place of `~`, or a checked URL without a slash at its end.

    Raises:
        ConfigError: it is a URL that no index can have, or one that was made a path.

    Example:
        >>> index_location("index"), index_location("s3://bucket/index/")
        (PosixPath('index'), 's3://bucket/index')
    """
    if isinstance(location, str) and _URL.match(location):
        return _checked(location)
    broken = _BROKEN.fullmatch(str(location))
    if broken is not None and broken[1] in SCHEMES:
        raise ConfigError(f"{location} was a URL before it was made a path. Give the text {broken[1]}://{broken[2]}.")
    return expand_home(location)


def path_of(location: IndexLocation) -> Path | None:
    """Return the path of an index, None where a URL names it."""
    return location if isinstance(location, Path) else None


def name_of(location: IndexLocation) -> str:
    """Return the name of an index: the last part of its path or URL.

    Example:
        >>> name_of("s3://bucket/animals")
        'animals'
    """
    return location.absolute().name if isinstance(location, Path) else location.rpartition("/")[2]


def absolute_location(location: IndexLocation) -> IndexLocation:
    """Return the absolute path of an index, or its URL."""
    return absolute(location) if isinstance(location, Path) else location


def _checked(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        expected = ", ".join(f"{name}://" for name in SCHEMES)
        raise ConfigError(f"{redact(url)}: expected the path of an index, or a URL that begins with {expected}.")
    parts = rest.rstrip("/").split("/")
    if "@" in parts[0]:
        raise ConfigError(
            f"{redact(url)} holds a user name or a password. Give the URL without it, and credentials in the "
            "environment."
        )
    if "?" in rest or "#" in rest or len(parts) < 2 or not all(parts) or ".." in parts or not rest.isprintable():
        raise ConfigError(
            f"{redact(url).partition('?')[0]} is not the URL of an index: expected {scheme}://BUCKET/NAME."
        )
    return f"{scheme}://{'/'.join(parts)}"


def _given(value: Any) -> Any:
    return index_location(value) if isinstance(value, str | Path) else value


IndexLocationField = Annotated[IndexLocation, BeforeValidator(_given)]
