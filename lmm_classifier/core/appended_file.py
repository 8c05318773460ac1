"""A file to which whole records are appended, so that an interrupted run keeps what it has.

This is the one kind of file that is not written under a temporary name and then renamed. A record is written at once;
one that could not be written whole is removed again. A kill may tear the last record, which the next run drops.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from lmm_classifier.core.errors import OutputError

try:
    import fcntl
except ImportError:  # pragma: no cover - not on Windows
    fcntl = None  # type: ignore[assignment]

Mode = Literal["new", "resume", "overwrite"]


class AppendedFile:
    """A file opened for appending. One program at a time may have it open.

    Args:
        path: the file. A device or a pipe is written too, but holds nothing to resume.
        mode: `new` refuses a file that holds something, `resume` appends to it, `overwrite` empties it.

    Raises:
        OutputError: the file cannot be opened, holds something already, or another program is writing it.
    """

    def __init__(self, path: Path, mode: Mode) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror}.") from error
        try:
            self.is_regular: bool = stat.S_ISREG(os.fstat(self._handle).st_mode)
            if self.is_regular:
                self._lock()
                self._prepare(mode)
        except BaseException:
            os.close(self._handle)
            raise

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"Another program is writing {self.path}.") from None
        except OSError:
            return  # this file system has no locks

    def _prepare(self, mode: Mode) -> None:
        size = os.fstat(self._handle).st_size
        if mode == "new" and size:
            raise OutputError(f"{self.path} exists already. It can be resumed, overwritten, or another file chosen.")
        self._end = size if mode == "resume" else 0
        self.cut(self._end)

    def cut(self, end: int) -> None:
        """Drop everything after the first `end` bytes; raise OutputError where that fails."""
        self._end = end
        try:
            os.ftruncate(self._handle, end)
            os.lseek(self._handle, end, os.SEEK_SET)
        except OSError as error:
            raise OutputError(f"Cannot write {self.path}: {error.strerror}.") from error

    def append(self, record: str) -> None:
        """Append a record whole; raise OutputError where it cannot be written, without any part of it in the file."""
        data = record.encode("utf-8", "surrogateescape")
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            self._drop_torn_record()
            raise OutputError(f"Cannot write {self.path}: {error.strerror}.") from error
        except BaseException:  # an interruption in the middle
            self._drop_torn_record()
            raise
        if self.is_regular:
            self._end += len(data)

    def _drop_torn_record(self) -> None:
        if self.is_regular:
            with suppress(OutputError):  # the next run drops it then
                self.cut(self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; raise OutputError where the disk did not take what was written."""
        try:
            if self.is_regular:
                os.fsync(self._handle)
        except OSError as failure:
            if error is None:
                raise OutputError(f"Cannot write {self.path}: {failure.strerror}.") from failure
        finally:
            os.close(self._handle)


def whole_records(lines: Iterable[bytes], quote: bytes = b"") -> Iterator[bytes]:
    """Yield the whole records of a file, each with the line break that ends it; a torn one at the end is left out.

    Args:
        lines: of the file, from its start.
        quote: the character inside which a line break ends no record; empty where there is none.
    """
    record, quotes = b"", 0
    for line in lines:
        record += line
        quotes += line.count(quote) if quote else 0
        if line.endswith(b"\n") and quotes % 2 == 0:
            yield record
            record, quotes = b"", 0
