"""The lock of a durable index: one program changes it at a time."""

from __future__ import annotations

from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from lmm_classifier.core.errors import IndexFileError

LOCK = "writer.lock"
WAIT = 10.0  # seconds to wait for another writer


def locked(folder: Path, wait: float = WAIT) -> BaseFileLock:
    """Lock the index in `folder` for writing; raise IndexFileError if that is impossible. The caller releases it."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise IndexFileError(
            f"Another program has been changing {folder} for {wait:g} seconds. Wait until it ends, then run this again."
        ) from None
    except OSError as error:
        raise IndexFileError(f"{folder} cannot be changed: {error}. Use an index in a writable folder.") from error
    return lock
