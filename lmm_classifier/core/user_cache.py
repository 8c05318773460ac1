"""The folder for files of the program that can be made again, in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path | None:
    """Return `$XDG_CACHE_HOME/lmm-classifier`, by default below `~/.cache`; None for a user without a home.

    The folder may not exist, and it may not be writable.
    """
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # there is neither HOME nor an entry of the user
        return None
    return base / "lmm-classifier"
