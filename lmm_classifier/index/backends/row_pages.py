"""Pages of rows in files of this machine: what was used last stays, and a damaged page counts as missing."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

logger: logging.Logger = logging.getLogger(__name__)

_MOST = 107_000_000_000  # bytes of all pages on a large disk
_SHARE = 4  # a smaller disk is filled to a quarter
_CHECKED = 64  # times: so often the size of all pages is looked at while as much is written as may be there
_DIGEST = 8  # bytes behind the content of a page


class RowPages:
    """Keeps pages of bytes by name, below a folder that other processes may use at the same time.

    Nothing is lost without it: where a page cannot be written or read, it is missing.

    Args:
        folder: is made when a page is put.
        most: bytes of all pages below the folder; the pages that were not used for the longest time are removed. None:
            107 GB, or a quarter of a disk that is too small for that.
    """

    def __init__(self, folder: Path, most: int | None = None) -> None:
        self.folder = folder
        self._most = most
        self._unchecked, self._lock = 0, Lock()
        self._refused = False

    def get(self, name: str) -> bytes | None:
        """Return a page; None where it is not there, or not whole."""
        path = self._path(name)
        try:
            page = path.read_bytes()
            os.utime(path)  # it was used just now
        except OSError:
            return None
        content, digest = page[:-_DIGEST], page[-_DIGEST:]
        if _digest(content) == digest:
            return content
        logger.warning("%s is damaged, so it is read again", path)
        return None

    def put(self, name: str, content: bytes) -> None:
        """Keep a page, if that is possible."""
        if self._refused:
            return
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _whole(path) as temporary:
                temporary.write_bytes(content + _digest(content))
            self._make_room(len(content))
        except OSError as error:
            self._refused = True
            logger.warning("Rows that were read cannot be kept in %s: %s", self.folder, error)

    def _path(self, name: str) -> Path:
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return self.folder / digest[:2] / digest

    def _make_room(self, written: int) -> None:
        """Remove the pages that were not used for the longest time, once enough was written to look."""
        with self._lock:
            if self._most is None:
                self._most = min(_MOST, shutil.disk_usage(self.folder).total // _SHARE)
            self._unchecked += written
            if self._unchecked * _CHECKED < self._most:
                return
            self._unchecked = 0
        pages = list[tuple[float, int, str]]()
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(OSError):  # another process removed it
                    found = Path(folder, name).stat()
                    pages.append((found.st_mtime, found.st_size, str(Path(folder, name))))
        total = sum(size for _, size, _ in pages)
        for _, size, path in sorted(pages):
            if total <= self._most:
                return
            Path(path).unlink(missing_ok=True)
            total -= size


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path that then replaces `path`. A digest tells a page that a crash cut off, so no sync."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST).digest()
