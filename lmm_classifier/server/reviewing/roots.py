"""Datasets of the server whose images may be classified: roots that have a name, folders below them, and no other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.redaction import quote_foreign
from lmm_classifier.data.readers.opening import is_one_image
from lmm_classifier.server.problems import ProblemError

FOLDERS_OFFERED = 200  # folders that are offered


class NamedRoots:
    """The roots of one server by their names.

    Raises:
        ConfigError: a root is no folder, and no archive or table either.
    """

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self.roots: dict[str, Path] = {name: Path(os.path.abspath(path)) for name, path in roots.items()}  # noqa: PTH100 - keeps links
        for name, path in self.roots.items():
            if not (path.is_dir() or _is_dataset(path)):
                raise ConfigError(
                    f"server.roots: {name} is {path}, which is no folder. Name a folder with images, or a .zip, .tar, "
                    ".csv, .jsonl or .parquet file."
                )

    def folder(self, root: str, inside: str) -> Path:
        """Return a folder below a root, or the root itself where it is an archive or a table; it reads the disk.

        Raises:
            ProblemError: there is no such root, or no such folder below it, also where a link leads out of it.
        """
        if root not in self.roots:
            known = ", ".join(sorted(self.roots)) or "none; the server was started without any"
            raise ProblemError("refused-run", f"There is no root {quote_foreign(root)}. Known roots: {known}.")
        top = self.roots[root]
        refused = ProblemError("refused-run", f"There is no folder {quote_foreign(inside)} below the root {root}.")
        if "\x00" in inside or inside.startswith(("/", "\\")) or ".." in Path(inside).parts:
            raise refused
        if inside in ("", ".") and _is_dataset(top):
            return top
        try:
            folder = top / inside
            is_below = folder.is_dir() and folder.resolve().is_relative_to(top.resolve())
        except (OSError, ValueError, RuntimeError):
            raise refused from None
        if not is_below:
            raise refused
        return folder

    def shown(self, folder: str) -> dict[str, Any]:
        """Return the source of a run over a folder, without the path of a root."""
        path = Path(folder)
        for name, top in sorted(self.roots.items(), key=lambda entry: -len(entry[1].parts)):
            if path.is_relative_to(top):
                return {"kind": "folder", "root": name, "folder": path.relative_to(top).as_posix()}
        return {"kind": "folder", "root": None, "folder": path.name}

    def folders(self) -> list[tuple[str, str]]:
        """Return the roots and the folders directly in them, some hundred at most, for a person to choose from."""
        found = list[tuple[str, str]]()
        for name, top in sorted(self.roots.items()):
            found.append((name, ""))
            try:
                with os.scandir(top) as entries:
                    inside = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            except OSError:
                continue
            found += [(name, folder) for folder in inside if not folder.startswith(".")]
        return found[:FOLDERS_OFFERED]


def _is_dataset(path: Path) -> bool:
    return path.is_file() and not is_one_image(str(path))
