"""Write files that appear whole or not at all: under a temporary name first, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.forking import ForkSafeLock

_UMASK = ForkSafeLock()
_START = 64  # bytes of a file that show whether it is text


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; when the block ends without an error, that file replaces `path`.

    A link stays, and the file that it leads to is replaced. A device or a pipe is never replaced, but written.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with _written_at_the_end(path) as temporary:
            yield temporary
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    handle, name = tempfile.mkstemp(prefix=".lmm-classifier-", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~umask())  # mkstemp makes it private; a result file is not
        sync_to_disk(temporary)
        temporary.replace(path)
        sync_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _written_at_the_end(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lmm-classifier-") as folder:
        temporary = Path(folder) / "output"
        yield temporary
        with path.open("wb") as device, temporary.open("rb") as content:
            shutil.copyfileobj(content, device)


def require_place(*paths: Path | None) -> None:
    """Raise OutputError where a text file could not be written at the end of a long run; None stands for no file.

    Two outputs in one file are refused, and so is a file that exists and is no text: an image or a database.
    """
    given = [path for path in paths if path is not None]
    for number, path in enumerate(given):
        if path.is_file():
            _require_text(path)
        if os.path.realpath(path) in map(os.path.realpath, given[:number]) and not _is_device(path):
            raise OutputError(f"Cannot write two outputs to {path}. Give each a file of its own.")
        folder = Path(os.path.realpath(path)).parent
        if path.is_dir() or not folder.is_dir():
            problem = f"{path} is a folder" if path.is_dir() else f"the folder {folder} does not exist"
            raise OutputError(f"Cannot write {path}: {problem}.")
        if not os.access(folder, os.W_OK) and not path.exists():
            raise OutputError(f"Cannot write {path}: nothing can be written to the folder {folder}.")


def _require_text(path: Path) -> None:
    """Raise OutputError where a file holds something that no output does; a file name may be given for a wrong option.

    Images, databases and archives have a zero byte near their start.
    """
    with suppress(OSError), path.open("rb") as file:
        if b"\0" in file.read(_START):
            raise OutputError(f"Cannot write {path}: it exists and is no text file. Nothing was changed.")


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a regular file in hexadecimal; raise OSError where there is none or it cannot be read."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return hashlib.file_digest(file, "sha256").hexdigest()


def umask() -> int:
    """Return the permissions that new files of this process do not get."""
    with _UMASK:  # it can be read only by setting it: another thread would read what this one set
        value = os.umask(0o077)
        os.umask(value)
    return value


def sync_to_disk(path: Path) -> None:
    """Ask the system to write a file or folder to the disk; some systems cannot sync folders."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        if path.is_file():
            raise
    finally:
        os.close(handle)
