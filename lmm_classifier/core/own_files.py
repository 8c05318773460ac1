"""Tell folders that this program wrote from folders of a user, so that it never reads its own files as data."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

OUTPUT_MARK = ".lmm-classifier-output"  # file in a folder of written images, such as the images of the demo
_DATABASE = "index.sqlite"
_WITH_DATABASE = {"writer.lock", "derived", "added"}  # files and folders of which an index has at least one


def own_kind(names: Collection[str]) -> str | None:
    """Return what a folder with entries of these names is, `index` or `output`; None for a folder of a user.

    An index is recognized while it is built, repaired or damaged too.
    """
    if any(name.startswith(_DATABASE) for name in names) and not _WITH_DATABASE.isdisjoint(names):
        return "index"
    return "output" if OUTPUT_MARK in names else None


def lies_in_own_folder(file: Path, root: Path) -> bool:
    """Return whether `file` lies in a folder below `root` that this program wrote."""
    for folder in file.relative_to(root).parents[:-1]:
        try:
            names = [entry.name for entry in (root / folder).iterdir()]
        except OSError:
            continue
        if own_kind(names) is not None:
            return True
    return False
