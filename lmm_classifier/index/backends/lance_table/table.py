"""A table of labeled vectors, as a writer sees it: chunks come in any order, then the table is finished."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import IndexFileError, IndexMismatchError
from lmm_classifier.core.protocols import Engine
from lmm_classifier.index.backends.lance_table.about import Extras
from lmm_classifier.index.backends.lance_table.arrivals import Arrivals, WrittenChunks
from lmm_classifier.index.backends.lance_table.datasets import clean_up
from lmm_classifier.index.backends.lance_table.finishing import Finisher, InThisProcess, keep_description
from lmm_classifier.index.backends.lance_table.layout import (
    ABOUT,
    ARRIVALS,
    CALIBRATION,
    CHUNKS,
    ROWS,
    STATISTICS,
    part,
)
from lmm_classifier.index.backends.lance_table.sorting import BUCKET_BYTES
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.database import FILE as DATABASE


class LanceTable:
    """A table at a path or at the URL of an object store. Any number of processes may read it while it is written."""

    def __init__(self, url: str, arrivals: Arrivals) -> None:
        self.url = url
        self._arrivals = arrivals

    @classmethod
    def create(cls, url: str, manifest: Manifest) -> LanceTable:
        """Make a table for vectors of the encoders of `manifest`, or open the one that is there, to go on with it.

        Raises:
            IndexFileError: an index of another format is there, or is told by the name.
            IndexMismatchError: the table that is there has vectors of other encoders.
            MissingExtraError: lance is not installed.
        """
        _require_place(url)
        table = cls(url, Arrivals.create(url, manifest))
        found = table.manifest
        if found.space_ids != manifest.space_ids:
            raise IndexMismatchError(
                f"{url} has vectors of {', '.join(map(str, found.fingerprints))}, but these are of "
                f"{', '.join(map(str, manifest.fingerprints))}. Choose another place for them."
            )
        return table

    @classmethod
    def open_if_there(cls, url: str, manifest: Manifest) -> LanceTable | None:
        """Do the same, but make nothing: return None where no table was begun."""
        _require_place(url)
        return None if part(url, ARRIVALS).open_if_there() is None else cls.create(url, manifest)

    @classmethod
    def open(cls, url: str) -> LanceTable:
        """Open the table to write; raise IndexFileError where there is none."""
        return cls(url, Arrivals.open(url))

    @property
    def manifest(self) -> Manifest:
        """The manifest that the table was made with; its `count` says nothing."""
        return self._arrivals.manifest

    def committed_chunks(self) -> set[str]:
        """Return the names of the chunks that are stored, by whichever process."""
        return self._arrivals.committed_chunks()

    def commit(self, chunks: Mapping[str, Any]) -> None:
        """Store many chunks in one version: all of them or none, and none that is stored already.

        Args:
            chunks: name of the chunk -> `pyarrow.Table` with a row for each of its files, good or bad, and the columns
                of `layout.arrivals_schema` but for `chunk`: `content` (32 bytes), `path`, `label`, `vector` (null for
                a bad file), `kind` and `reason` (null for a good file); of several encoders `vector_1` and so on.

        Raises:
            IndexFileError: a chunk has no rows or other columns, or the store refused it several times.
        """
        self._arrivals.commit(chunks)

    def write(self, chunks: Mapping[str, Any]) -> WrittenChunks:
        """Write chunks, as `commit` takes them, to files that belong to no version yet; `commit_written` stores them.

        So workers can write at the same time, and one process commits what they wrote, without reading it.
        """
        return self._arrivals.write(chunks)

    def commit_written(self, parts: Sequence[WrittenChunks]) -> list[WrittenChunks]:
        """Store what was written in one version, and return the parts that cannot be stored.

        These hold a chunk that another process stored meanwhile, and one that is not stored: commit their chunks.

        Raises:
            IndexFileError: the store refused it several times.
        """
        return self._arrivals.commit_written(parts)

    def finish(
        self,
        wanted: Collection[str] | None = None,
        engine: Engine | None = None,
        extras: Extras | None = None,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        """Sort the rows by label and content, join equal ones, describe and index them; readers then use this version.

        It can be repeated: after more chunks came, or after it was interrupted. Where nothing changed it does nothing.

        Args:
            wanted: the chunks that the table is to have; None: all that are stored.
            engine: does the sorting, one task for each bucket of labels; None: this process.
            extras: what an index holds next to its examples.
            bucket_bytes: the vectors that one task sorts in memory, which takes about five times as much.

        Raises:
            DatasetError: there is no good image.
            IndexFileError: a wanted chunk was never committed, or the store cannot be read or written.
        """
        Finisher(self.url, extras or Extras(), engine or InThisProcess(), bucket_bytes).finish(self._arrivals, wanted)

    def clean_up(self, older_than: timedelta = timedelta(days=1)) -> int:
        """Delete versions that readers were given before the finished one; return the bytes that this gives back.

        The finished version and the newest one of each dataset stay, and so do the chunks of the arrivals. Of files
        that were written and never committed, those go that are older than a week.

        Args:
            older_than: the age from which a version is deleted. A program that opened one of that age cannot read it
                any more.
        """
        keep_description(self.url)
        names = (ARRIVALS, CHUNKS, ROWS, ABOUT, STATISTICS, CALIBRATION)
        return sum(clean_up(part(self.url, name), older_than) for name in names)


def _require_place(url: str) -> None:
    """Raise IndexFileError for the place of an index of another format: a table would hide it."""
    path = Path(url)
    if "://" not in url and (path.suffix == ".npz" or path.is_file() or (path / DATABASE).exists()):
        raise IndexFileError(
            f"{url} is the place of an index that is no table. Nothing was changed. Choose another output, a folder or "
            "a URL."
        )
