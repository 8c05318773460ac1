"""Members of an archive as places: found once in its table, and read by their position in the file.

Members are never unpacked to a disk. A table that is kept is read again when the file of the archive changed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.data.places import MemberStatus
from lmm_classifier.data.readers.listing import Row
from lmm_classifier.data.readers.source_file import LocalFile, SourceFile


@dataclass(frozen=True, slots=True)
class Member:
    """Where a member is in the file: its bytes, packed or not, begin at `offset`."""

    offset: int  # of a zip: of its local header
    size: int  # bytes
    packed: int  # bytes in the archive
    crc: int | None = None  # of a zip
    deflated: bool = False


@dataclass
class ArchiveTable:
    """The members of an archive by their ids, and what was passed over."""

    members: dict[str, Member] = field(default_factory=dict)
    refused: list[Row] = field(default_factory=list)


@dataclass
class ArchiveRoot:
    """An archive as the root of a dataset; its table is read when the first member is asked for.

    A copy by pickle, in another process, reads it again.
    """

    file: SourceFile
    read_table: Callable[[SourceFile], ArchiveTable]
    _table: tuple[object, ArchiveTable] | None = None
    _lock: ForkSafeLock = field(default_factory=ForkSafeLock)

    def table(self) -> ArchiveTable:
        """Return the table; raise OSError where the archive is gone, and DatasetError where it is damaged."""
        with self._lock:
            # asking a server for each member would take longer than reading it
            state = _state(self.file) if isinstance(self.file, LocalFile) or self._table is None else self._table[0]
            if self._table is None or self._table[0] != state:
                self._table = state, self.read_table(self.file)
            return self._table[1]

    def forget_table(self) -> None:
        """Free the table; it is read again when it is needed."""
        with self._lock:
            self._table = None

    def member(self, path: str) -> Member:
        """Return where the member of an id is; raise OSError where there is none."""
        try:
            return self.table().members[path]
        except KeyError:
            raise FileNotFoundError(f"{self.file} has no member {path!r} now") from None
        except DatasetError as error:
            raise OSError(str(error)) from error

    def __reduce__(self) -> tuple[type[ArchiveRoot], tuple[object, ...]]:
        return type(self), (self.file, self.read_table)

    def __truediv__(self, path: str, /) -> ArchivePlace:
        return ArchivePlace(self, path)


@dataclass(frozen=True)
class ArchivePlace:
    """A member of an archive."""

    root: ArchiveRoot
    path: str

    def stat(self) -> MemberStatus:
        """Return the size of the member, unpacked, and the times of the archive."""
        member, status = self.root.member(self.path), self.root.file.stat()
        return MemberStatus(member.size, status.st_mtime_ns, status.st_ctime_ns)

    def read_bytes(self) -> bytes:
        """Return the bytes of the member; raise OSError where they are not those that the archive announces."""
        member = self.root.member(self.path)
        if member.crc is None:
            data = self.root.file.read_range(member.offset, member.size)
        else:
            data = _zip_content(self.root.file, member)
        if len(data) != member.size:
            raise OSError(f"the archive is cut: {len(data):,} of {member.size:,} bytes are there")
        return data

    def __str__(self) -> str:
        return f"{self.root.file}/{self.path}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchivePlace) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


_HEADER = 30  # bytes of a local header of a zip before the name
_NAME = 300  # bytes of a usual name and its extra fields


def _zip_content(file: SourceFile, member: Member) -> bytes:
    """Return an unpacked member, but never more than one byte beyond the size that the archive announces."""
    # most names fit, so that one part of the file is enough
    part = file.read_range(member.offset, _HEADER + _NAME + member.packed)
    header = part[:_HEADER]
    if len(header) < _HEADER or not header.startswith(b"PK\3\4"):
        raise OSError("the archive is damaged: no member begins where its table says")
    start = _HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    data = part[start : start + member.packed]
    if len(data) < member.packed:
        data = file.read_range(member.offset + start, member.packed)
    if member.deflated:
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
        except zlib.error as error:
            raise OSError(f"the archive is damaged: a member cannot be unpacked ({error})") from error
    if len(data) > member.size:
        raise OSError(f"the archive is damaged: a member has more than the {member.size:,} bytes it announces")
    if len(data) == member.size and zlib.crc32(data) != member.crc:
        raise OSError("the archive is damaged: the checksum of a member is wrong")
    return data


def _state(file: SourceFile) -> object:
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
