"""Images that were added by hand and removed again: they stay as long as the journal, so that an undo finds them.

The order of the steps makes each one safe. An image comes back before its example is committed, and it leaves after
its example was. So a killed program leaves an image too many in `added/`, never an example without one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.files import sync_to_disk
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.storage.reader import ADDED_FOLDER

logger: logging.Logger = logging.getLogger(__name__)

TRASH_FOLDER = "trash"


def image_name(path: str) -> str | None:
    """Return the file name of an image that was added by hand, by the id of its example; None for any other id."""
    name = path.removeprefix(ADDED)
    return name if path.startswith(ADDED) and "/" not in name and name not in ("", ".", "..") else None


class Trash:
    """The removed images of the index in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.added: Path = folder / ADDED_FOLDER
        self.folder: Path = folder / TRASH_FOLDER

    def restore(self, paths: Iterable[str]) -> None:
        """Move the images of these examples back, where they are in the trash; raise IndexFileError if that fails."""
        moved = False
        for name in _names(paths):
            if not (self.added / name).exists() and (self.folder / name).exists():
                try:
                    self.added.mkdir(exist_ok=True)
                    (self.folder / name).rename(self.added / name)
                except OSError as error:
                    raise IndexFileError(
                        f"{self.folder / name} cannot be moved back: {error}. No example was changed."
                    ) from error
                moved = True
        if moved:
            sync_to_disk(self.added)

    def put(self, paths: Iterable[str]) -> None:
        """Move the images of these former examples into the trash; one that cannot be moved stays where it is."""
        for name in _names(paths):
            try:
                if (self.added / name).exists():
                    self.folder.mkdir(exist_ok=True)
                    (self.added / name).replace(self.folder / name)
            except OSError as error:
                logger.warning("%s could not be moved to the trash: %s", self.added / name, error)

    def names(self) -> set[str]:
        """Return the names of the images in the trash."""
        return {file.name for file in self.folder.glob("*") if file.is_file()}

    def delete(self, names: Iterable[str]) -> int:
        """Delete images in the trash; return the number of bytes, and raise IndexFileError where that fails."""
        freed = 0
        for name in names:
            file = self.folder / name
            try:
                size = file.stat().st_size
                file.unlink()
            except OSError as error:
                raise IndexFileError(
                    f"{file} cannot be deleted: {error}. Its edits are forgotten; purge again."
                ) from error
            freed += size
        return freed


def _names(paths: Iterable[str]) -> Iterator[str]:
    return (name for path in paths if (name := image_name(path)) is not None)
