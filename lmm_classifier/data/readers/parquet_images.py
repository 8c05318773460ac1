"""Images in the rows of a Parquet file as places: only the number of the row is kept, never the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.data.places import MemberStatus, Place, Root
from lmm_classifier.data.readers.columns import column
from lmm_classifier.data.readers.parquet_file import ParquetTable
from lmm_classifier.data.readers.source_file import SourceFile

_DIGITS = 8  # of a row, so that ids sort as the rows do


def image_row_id(row: int, name: str) -> str:
    """Return the id of an image: its row, and the last part of its name for people."""
    name = name.replace("\\", "/").rpartition("/")[2].replace("\0", "")
    return f"{row:0{_DIGITS}}-{name}" if name else f"{row:0{_DIGITS}}"


def row_of_image(path: str) -> int:
    """Return the row that an id of `image_row_id` names, -1 for any other text."""
    digits = path.partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else -1


@dataclass
class ParquetRoot:
    """A Parquet file as the root of a dataset: it holds the bytes of images, or names files in its folder."""

    file: SourceFile
    folder: Root  # of the file
    image_from: str | None = None
    _images: ParquetImages | None = None

    def __reduce__(self) -> tuple[type[ParquetRoot], tuple[object, ...]]:
        return type(self), (self.file, self.folder, self.image_from)

    def __truediv__(self, path: str, /) -> Place:
        images = self._images or ParquetImages(self.file, self.image_from)
        self._images = images
        try:
            holds = bool(images.image_column())
        except OSError:  # the place of a row says why it cannot be read
            holds = True
        return images / path if holds else self.folder / path


@dataclass
class ParquetImages:
    """A Parquet file with the bytes of images as the root of a dataset."""

    file: SourceFile
    column: str | None  # None: the first usual one, as for a build
    _table: ParquetTable | None = None
    _state: object = None
    _lock: ForkSafeLock = field(default_factory=ForkSafeLock)

    def table(self) -> ParquetTable:
        """Return the table; it is opened anew where the file changed."""
        status = self.file.stat()
        state = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        with self._lock:
            if self._table is None or (self._state is not None and self._state != state):
                self._table = ParquetTable(self.file)
            self._state = state
            return self._table

    def image_column(self) -> str | None:
        """Return the column with the bytes of images, None where there is none; raise OSError for a damaged file."""
        with _as_os_error():
            table = self.table()
            name = column(self.column, table.columns, "image", self.file)
            return name if name is not None and table.holds_images(name) else None

    def __reduce__(self) -> tuple[type[ParquetImages], tuple[object, ...]]:
        return type(self), (self.file, self.column)

    def __truediv__(self, path: str, /) -> ParquetPlace:
        return ParquetPlace(self, path)


@dataclass(frozen=True)
class ParquetPlace:
    """The image of one row."""

    root: ParquetImages
    path: str

    def stat(self) -> MemberStatus:
        """Return the times of the file; the size is 0, since only reading tells it. Raise OSError where no row is."""
        status = self.root.file.stat()
        with _as_os_error():
            if not 0 <= self._row() < self.root.table().count:
                raise FileNotFoundError(f"{self.root.file} has no row {self.path!r} now")
        return MemberStatus(0, status.st_mtime_ns, status.st_ctime_ns)

    def read_bytes(self) -> bytes:
        """Return the bytes of the image; raise OSError where the row is gone."""
        with _as_os_error():
            name = self.root.image_column()
            if name is None:
                raise FileNotFoundError(f"{self.root.file} holds no images now")
            return self.root.table().image(name, self._row())

    def _row(self) -> int:
        return row_of_image(self.path)

    def __str__(self) -> str:
        return f"{self.root.file}/{self.path}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ParquetPlace) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except LmmClassifierError as error:
        raise OSError(str(error)) from error
