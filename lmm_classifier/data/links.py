"""Which links in a folder are followed: those that stay inside it, and those into folders that the user names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lmm_classifier.core.errors import DatasetError

Problem = tuple[str, str]  # reason and kind of a skipped entry


class LinkRule:
    """The rule for the links under one folder.

    A link to a file is read if the file lies in the folder itself or in one of `follow`. A link to a folder is read
    only where `follow` names a folder, and each folder is then read once, so that loops end.
    """

    def __init__(self, root: Path, follow: Sequence[Path] = ()) -> None:
        for folder in follow:
            if not os.path.isdir(folder):  # noqa: PTH112 - it never raises
                raise DatasetError(f"images.follow_links names {folder}, which is not a folder.")
        self._follows_folders = bool(follow)
        self._inside = [os.path.join(os.path.realpath(folder), "") for folder in (root, *follow)]  # noqa: PTH118
        self._read: dict[tuple[int, int], str] = {}  # device and number of each folder that was read

    def problem(self, link: os.DirEntry[str]) -> Problem | None:
        """Return why a link is not followed, None where it is."""
        target = os.path.realpath(link.path)
        if not os.path.exists(target):  # noqa: PTH110 - a loop of links has no target either
            annex = ".git/annex/" in target.replace(os.sep, "/")
            return f"a link without a target{': git-annex has not fetched its content' if annex else ''}", "symlink"
        is_folder = os.path.isdir(target)  # noqa: PTH112
        if is_folder and not self._follows_folders:
            return "a link to a folder, which images.follow_links can allow", "symlink"
        if any(f"{target}{os.sep if is_folder else ''}".startswith(folder) for folder in self._inside):
            return None
        return f"a link to {target}, outside the folder; images.follow_links can name the folder it leads to", "outside"

    def enter(self, folder: str, path: str) -> str | None:
        """Note that `folder` is read now under the id `path`; return the id under which it was read before, if any."""
        status = os.stat(folder)  # noqa: PTH116
        former = self._read.setdefault((status.st_dev, status.st_ino), path)
        return None if former == path else former
