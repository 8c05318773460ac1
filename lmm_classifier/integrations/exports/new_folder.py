"""A folder of exported files that appears whole or not at all, and never replaces the files of a user."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.files import sync_to_disk, umask
from lmm_classifier.core.own_files import OUTPUT_MARK
from lmm_classifier.core.paths import absolute


@contextmanager
def new_folder(path: Path, names: Collection[str], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; when the block ends without an error, it takes that place.

    Args:
        path: the folder to make.
        names: what every export of this kind has in its folder. Only such a folder is replaced.
        overwrite: replace an earlier export.

    Raises:
        OutputError: something is at `path` that must not be replaced, or nothing can be written there.
    """
    path = absolute(path)
    require_new_folder(path, names, overwrite)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".lmm-classifier-", suffix=".tmp", dir=path.parent))
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.") from error
    try:
        yield temporary
        (temporary / OUTPUT_MARK).touch()  # a search for images passes the folder over
        temporary.chmod(0o777 & ~umask())  # mkdtemp makes it private
        _take_place(temporary, path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_new_folder(path: Path, names: Collection[str], overwrite: bool) -> None:
    """Raise OutputError where `new_folder` would do so before anything is written."""
    if not path.exists() and not path.is_symlink():
        if not path.parent.is_dir():
            raise OutputError(f"Cannot write {path}: the folder {path.parent} does not exist.")
        return
    if path.is_symlink() or not path.is_dir():
        raise OutputError(f"Cannot write {path}: it exists and is no folder. Choose another name.")
    there = {entry.name for entry in path.iterdir()}
    if not there:
        return
    if not {OUTPUT_MARK, *names} <= there or there - {OUTPUT_MARK, IMAGES, *names}:
        raise OutputError(
            f"{path} holds other files than such an export, so it is not replaced. Choose another folder."
        )
    if not overwrite:
        raise OutputError(f"{path} exists already. It can be overwritten, or another folder chosen.")


IMAGES = "images"
"""The folder of copied images in an export."""


def _take_place(temporary: Path, path: Path) -> None:
    """Rename the folder to its name; an earlier export is set aside first and deleted last."""
    if path.exists():
        former = Path(tempfile.mkdtemp(prefix=".lmm-classifier-", suffix=".former", dir=path.parent))
        path.replace(former / path.name)
        try:
            temporary.rename(path)
        except OSError:
            (former / path.name).rename(path)
            raise
        finally:
            shutil.rmtree(former, ignore_errors=True)
    else:
        temporary.rename(path)
    sync_to_disk(path.parent)
