"""The folder for files of the program that can be made again, in the user's cache."""

from __future__ import annotations

from pathlib import Path

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.paths import cache_folder


def user_cache() -> Path | None:
    """Return `cache_folder()`, None for a user without a home. It may not exist, and it may not be writable."""
    try:
        return cache_folder()
    except ConfigError:
        return None
