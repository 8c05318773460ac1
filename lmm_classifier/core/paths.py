"""Paths as people write them: `~`, paths relative to a file of settings, and the user's cache folder."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from platformdirs import user_cache_path

from lmm_classifier.core.errors import ConfigError


def expand_home(path: Path | str) -> Path:
    """Replace a leading `~` or `~user` by the home folder; a name that only begins with `~` stays.

    Raises:
        ConfigError: the path begins with `~/`, but the home folder is unknown.
    """
    expanded = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises where the home is unknown
    if expanded == "~" or expanded.startswith(("~/", f"~{os.sep}")):
        raise ConfigError(f"The home folder in {str(path)!r} is unknown. Set HOME, or write the whole path.")
    return Path(expanded)


def looks_like_path(name: str) -> bool:
    """Return whether a name can only be a path, and not the name of a model on a hub, which is `owner/name`."""
    return name.startswith((".", "~", "/")) or name.count("/") > 1 or "\\" in name or Path(name).is_absolute()


def model_in(folder: Path, name: str) -> str:
    """Return the path of the model `name` next to a file of settings in `folder`; a hub name stays as it is."""
    path = absolute(folder / name)
    return str(path) if looks_like_path(name) or path.exists() else name


def model_name(model: str) -> str:
    """Return the name by which a model is known: of a folder its last part, wherever the program runs."""
    path = Path(os.path.expanduser(model))  # noqa: PTH111 - where the home is unknown, it is no folder
    return absolute(path).name if path.is_dir() else model


def absolute(path: Path | str) -> Path:
    """Return the absolute path without `.` and `..`; links stay, so that the last part is the name in use."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve() follows links


def similar_names(path: Path) -> str:
    """Return a sentence with the most similar names next to a path that does not exist, else an empty text."""
    path = absolute(path)
    while not path.parent.is_dir():
        path = path.parent
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return ""
    similar = difflib.get_close_matches(path.name, names, n=3)
    return f"Did you mean {' or '.join(str(path.parent / name) for name in similar)}?" if similar else ""


def home_is_known() -> bool:
    """Return whether `~` can be expanded."""
    return not os.path.expanduser("~").startswith("~")  # noqa: PTH111


def cache_folder() -> Path:
    """Return the program's folder for files that can be made again, where the system keeps such files.

    On Linux it is `$XDG_CACHE_HOME/lmm-classifier`, by default below `~/.cache`; on macOS it is below
    `~/Library/Caches`, on Windows below `%LOCALAPPDATA%`. It may not exist, and it may not be writable.

    Raises:
        ConfigError: the home folder is unknown, and no variable of the environment names another place.
    """
    try:
        return expand_home(user_cache_path("lmm-classifier", appauthor=False))
    except RuntimeError:
        raise ConfigError("The folder for caches is unknown. Set HOME, or XDG_CACHE_HOME to a whole path.") from None
