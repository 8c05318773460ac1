"""Commit chunks to a table: workers write their rows to its files, and the driver commits the files, unread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.protocols import Engine
from lmm_classifier.distributed.chunk_folder import ChunkFolder, StoredChunk
from lmm_classifier.distributed.chunk_rows import committed
from lmm_classifier.index.backends.lance_table.arrivals import WrittenChunks
from lmm_classifier.index.backends.lance_table.table import LanceTable

_CHUNKS = 64  # that a worker writes together at most
_BYTES = 1 << 28  # of their vectors, which are in its memory
_PARTS = 64  # of workers, in one version of the table at most


@dataclass(frozen=True, slots=True)
class WriteTask:
    """Chunks to write: the number of their files by stem."""

    files: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class WriterBuilder:
    """Makes a worker where the work is done."""

    url: str

    def __call__(self) -> Writer:
        """Open the table and return the worker."""
        return Writer(ChunkFolder(self.url), LanceTable.open(self.url))


@dataclass(frozen=True)
class Writer:
    """Writes the rows of chunks to files that belong to no version of the table yet."""

    folder: ChunkFolder
    table: LanceTable

    def __call__(self, task: WriteTask) -> WrittenChunks:
        """Write them again each time: files that are never committed are deleted later."""
        return self.table.write(read_chunks(self.folder, task))


def read_chunks(folder: ChunkFolder, task: WriteTask) -> dict[str, object]:
    """Read chunks as a table takes them; raise OutputError where one has not a row for each of its files."""
    tables = {stem: folder.table(stored_chunk(stem)) for stem, _ in task.files}
    for stem, files in task.files:
        if tables[stem].num_rows != files:
            raise OutputError(f"Chunk {stem} has {tables[stem].num_rows} rows, and {files} files. Delete it.")
    return {stem: committed(rows) for stem, rows in tables.items()}


def commit_chunks(
    table: LanceTable, folder: ChunkFolder, files: Mapping[str, int], row_bytes: int, engine: Engine
) -> None:
    """Commit the chunks that the table does not have.

    Args:
        table: to commit to.
        folder: of the chunks.
        files: the number of files of each chunk, by stem.
        row_bytes: of the vectors of a row.
        engine: runs the workers that write.

    Raises:
        IndexFileError: the store refused it several times.
        OutputError: a chunk has other rows than files.
    """
    known = table.committed_chunks()
    tasks = list(_tasks({stem: files[stem] for stem in sorted(files) if stem not in known}, row_bytes))
    parts = list[WrittenChunks]()
    for written in engine.run(tasks, WriterBuilder(table.url)):
        parts.append(written)
        if len(parts) == _PARTS:
            _commit(table, folder, files, parts)
            parts = []
    if parts:
        _commit(table, folder, files, parts)


def _commit(table: LanceTable, folder: ChunkFolder, files: Mapping[str, int], parts: list[WrittenChunks]) -> None:
    for part in table.commit_written(parts):
        table.commit(read_chunks(folder, WriteTask(tuple((stem, files[stem]) for stem in sorted(part.names)))))


def _tasks(files: Mapping[str, int], row_bytes: int) -> Iterator[WriteTask]:
    """Put chunks together, so many as a worker holds in memory."""
    group, size = list[tuple[str, int]](), 0
    for stem, count in files.items():
        if group and (len(group) >= _CHUNKS or (size + count) * row_bytes > _BYTES):
            yield WriteTask(tuple(group))
            group, size = [], 0
        group.append((stem, count))
        size += count
    if group:
        yield WriteTask(tuple(group))


def stored_chunk(stem: str) -> StoredChunk:
    """Return the chunk of a stem, which tells after how many tries it was made."""
    name, _, tries = stem.partition("~")
    return StoredChunk(name, int(tries or 0))
