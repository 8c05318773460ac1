"""Read an uncompressed tar archive: the positions of its members, which are then read by them."""

from __future__ import annotations

import struct
import tarfile

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.readers.archive import ArchiveRoot, ArchiveTable, Member
from lmm_classifier.data.readers.listing import Row
from lmm_classifier.data.readers.names import member_id
from lmm_classifier.data.readers.source_file import SourceFile

_DAMAGE = (tarfile.TarError, ValueError, EOFError, OverflowError, LookupError, struct.error, RecursionError)


def tar_root(file: SourceFile) -> ArchiveRoot:
    """Return a tar archive as a root; nothing is read yet."""
    return ArchiveRoot(file, _table)


def _table(file: SourceFile) -> ArchiveTable:
    """Read the headers of a tar archive.

    Raises:
        OSError: it cannot be read.
        DatasetError: it is no uncompressed tar archive.
    """
    table = ArchiveTable()
    with file.open() as opened:
        try:
            archive = tarfile.open(fileobj=opened, mode="r:")  # noqa: SIM115 - it holds nothing but `opened`
        except _DAMAGE as error:
            raise DatasetError(f"{file} is not an uncompressed tar archive, or is damaged: {error}.") from error
        end = file.stat().st_size
        try:
            last = -1
            for info in archive:
                if info.offset_data <= last:  # a size below zero leads back, and would never end
                    raise tarfile.ReadError("the members do not follow each other")
                last = info.offset_data
                _add(table, info, end)
                vars(archive)["members"].clear()  # the library would keep them all
            damaged = any(file.read_range(archive.offset, tarfile.BLOCKSIZE))  # the library ends there silently
        except _DAMAGE:
            damaged = True
        if damaged:
            problem = f"the archive is damaged from byte {archive.offset:,} on: what follows is not seen", "unreadable"
            table.refused.append(Row(".", problem=problem))
    return table


def _add(table: ArchiveTable, info: tarfile.TarInfo, end: int) -> None:
    if info.isdir():
        return
    path = member_id(info.name)
    if path is None:
        table.refused.append(Row(info.name, problem=("its name leaves the archive", "outside")))
    elif info.issym() or info.islnk():
        table.refused.append(Row(path, problem=("a link, which an archive may not hold", "symlink")))
    elif not info.isreg() or info.issparse():
        table.refused.append(Row(path, problem=("not a regular file", "ignored")))
    elif info.offset_data + info.size > end:
        table.refused.append(Row(path, problem=("the archive is cut in this member", "unreadable")))
    else:
        if path in table.members:
            table.refused.append(Row(path, problem=("an earlier member of the same name", "repeated")))
        table.members[path] = Member(info.offset_data, info.size, info.size)
