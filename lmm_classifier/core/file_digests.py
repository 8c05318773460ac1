"""Digests of all bytes of files; those of large files are remembered, so that a second start reads nothing.

A digest is remembered by path, size, times, inode and device, in one small file each in the user's cache. A damaged
entry is ignored, an entry that cannot be written is left out, and several programs may write at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lmm_classifier.core.files import atomic_write
from lmm_classifier.core.user_cache import user_cache

_SMALL = 1 << 20  # bytes; a smaller file is read each time
_MOST = 1000  # entries; the oldest are removed
# A file that changes twice within one tick of its clock keeps its time. Ticks last up to 2 seconds (FAT). So the
# digest of a file that changed more recently than that is not remembered.
_TICK = 2_000_000_000  # nanoseconds


def file_digest(path: Path) -> str:
    """Return the SHA-256 of all bytes of a file, hexadecimal; raise OSError if it cannot be read."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size < _SMALL:
            return hashlib.sha256(file.read()).hexdigest()
        name = os.path.realpath(path)
        entry, key = _entry(name), _key(name, status)
        if (known := _read(entry, key)) is not None:
            return known
        started = time.time_ns()
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        settled = started - max(status.st_mtime_ns, status.st_ctime_ns) > _TICK
        if settled and _key(name, os.fstat(file.fileno())) == key:
            _write(entry, key, digest)
        return digest


def files_digest(files: Mapping[str, Path]) -> str:
    """Return a digest of files and the names that they are given, 16 hexadecimal digits; a missing file counts too."""
    digest = hashlib.sha256()
    for name in sorted(files):
        content = file_digest(files[name]) if files[name].is_file() else "missing"
        digest.update(f"{name}\0{content}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]


def _key(name: str, status: os.stat_result) -> list[str | int]:
    """Return all that shows a change; no program can set the time of the last change of the status, ctime."""
    return [name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _entry(name: str) -> Path | None:
    folder = user_cache()
    file = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:32]
    return None if folder is None else folder / "digests" / f"{file}.json"


def _read(entry: Path | None, key: list[str | int]) -> str | None:
    """Return the digest of an entry that is sound and of the same file."""
    if entry is None:
        return None
    try:
        values = json.loads(entry.read_bytes())
        digest = str(values["digest"])
        return digest if values["key"] == key and values["checksum"] == _checksum(key, digest) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _write(entry: Path | None, key: list[str | int], digest: str) -> None:
    if entry is None:
        return
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        values = {"key": key, "digest": digest, "checksum": _checksum(key, digest)}
        with atomic_write(entry) as temporary:
            temporary.write_text(json.dumps(values), encoding="ascii")
        entries = sorted(entry.parent.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        for oldest in entries[:-_MOST]:
            oldest.unlink(missing_ok=True)


def _checksum(key: list[str | int], digest: str) -> str:
    return hashlib.sha256(json.dumps([key, digest]).encode()).hexdigest()
