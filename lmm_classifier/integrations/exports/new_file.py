"""An exported file never replaces another kind of file."""

from __future__ import annotations

from pathlib import Path

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.paths import absolute


def require_new_file(path: Path, start: bytes, overwrite: bool) -> None:
    """Raise OutputError where a file cannot be written, or would replace one that must stay.

    Args:
        path: the file.
        start: the first bytes of every file of this kind. With `overwrite` only such a file is replaced.
        overwrite: replace an earlier export.
    """
    folder = absolute(path).parent
    if path.is_dir() or not folder.is_dir():
        problem = "it is a folder" if path.is_dir() else f"the folder {folder} does not exist"
        raise OutputError(f"Cannot write {path}: {problem}.")
    if not path.is_file() or not path.stat().st_size:
        return
    if not overwrite:
        raise OutputError(f"{path} exists already. It can be overwritten, or another file chosen.")
    try:
        with path.open("rb") as file:
            is_ours = file.read(len(start)) == start
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.") from error
    if not is_ours:
        raise OutputError(f"{path} is no such export, so it is not replaced. Choose another file.")
