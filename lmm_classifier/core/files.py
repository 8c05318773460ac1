"""Write files that appear whole or not at all: under a temporary name first, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; when the block ends without an error, that file replaces `path`."""
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


def umask() -> int:
    """Return the permissions that new files of this process do not get."""
    value = os.umask(0)
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
