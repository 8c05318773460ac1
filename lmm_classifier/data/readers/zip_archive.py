"""Read a zip archive of folders of images, by the rules for folders on a disk."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Iterator

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.links import Problem
from lmm_classifier.data.readers.archive import ArchiveRoot, ArchiveTable, Member
from lmm_classifier.data.readers.listing import Row
from lmm_classifier.data.readers.names import member_id
from lmm_classifier.data.readers.source_file import SourceFile

_ENCRYPTED = 1  # bit of the flags of a member
_DOS_FOLDER = 0x10


def zip_root(file: SourceFile) -> ArchiveRoot:
    """Return a zip archive as a root; nothing is read yet."""
    return ArchiveRoot(file, _table)


def _table(file: SourceFile) -> ArchiveTable:
    """Read the directory of a zip archive.

    Raises:
        OSError: it cannot be read.
        DatasetError: it is no zip archive, or damaged.
    """
    table = ArchiveTable()
    for name, info in _entries(file):
        path = member_id(name)
        if path is None:
            table.refused.append(Row(name, problem=("its name leaves the archive", "outside")))
        elif problem := _problem(info):
            table.refused.append(Row(path, problem=problem))
        else:
            if path in table.members:
                table.refused.append(Row(path, problem=("an earlier member of the same name", "repeated")))
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            table.members[path] = Member(info.header_offset, info.file_size, info.compress_size, info.CRC, deflated)
    return table


def _entries(file: SourceFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Yield the members but not the folders, with their names as they are written in the archive."""
    try:
        with file.open() as opened, zipfile.ZipFile(opened) as archive:
            for info in archive.infolist():
                if not info.is_dir() and not info.external_attr & _DOS_FOLDER:
                    # zipfile cuts a name at NUL; that is another name than the archive has
                    yield (info.orig_filename if "\0" in info.orig_filename else info.filename), info
    except (zipfile.BadZipFile, ValueError, RuntimeError, EOFError, OverflowError, LookupError, struct.error) as error:
        raise DatasetError(f"{file} is not a zip archive, or is damaged: {error}.") from error


def _problem(info: zipfile.ZipInfo) -> Problem | None:
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link, which an archive may not hold", "symlink"
    if info.flag_bits & _ENCRYPTED:
        return "encrypted", "unreadable"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compressed by method {info.compress_type}: only stored and deflated members are read", "unsupported"
    return None
