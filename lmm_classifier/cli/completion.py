"""What a shell offers where a command line is not finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def complete_configuration(incomplete: str) -> list[str]:
    """Return the presets and the YAML files and folders that begin with `incomplete`."""
    from lmm_classifier.config import preset_names

    presets = [name for name in preset_names() if name.startswith(incomplete)]
    return presets + _files(incomplete, lambda file: file.suffix in (".yaml", ".yml"))


def complete_place(incomplete: str) -> list[str]:
    """Return the files and folders that begin with `incomplete`; URLs of datasets and indexes are not looked up."""
    return _files(incomplete, lambda _: True)


def _files(incomplete: str, is_offered: Callable[[Path], bool]) -> list[str]:
    """Return the folders, and those files that are offered."""
    folder, _, start = incomplete.rpartition("/")
    parent = Path(folder or ("/" if incomplete.startswith("/") else "."))
    try:
        entries = sorted(parent.iterdir())
    except (OSError, ValueError):
        entries = []
    prefix = incomplete[: len(incomplete) - len(start)]
    return [
        f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(start) and (entry.is_dir() or is_offered(entry))
    ]
