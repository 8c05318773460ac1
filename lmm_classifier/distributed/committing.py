"""Commit the chunks of a build to its table: workers write the rows, and only names of files come back.

The program that commits would otherwise read and write all vectors, alone: 4.6 TB for a billion images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.protocols import Engine
from lmm_classifier.distributed.chunk_folder import ChunkFolder, StoredChunk
from lmm_classifier.distributed.chunk_rows import committed
from lmm_classifier.distributed.engines.local import InProcess
from lmm_classifier.index.backends.lance_table.arrivals import WrittenChunks
from lmm_classifier.index.backends.lance_table.table import LanceTable

_GROUP_CHUNKS, _GROUP_BYTES = 64, 1 << 30  # that a worker writes to one file at most, of vectors
_COMMITTED = 1024  # chunks from which a version is committed; what is written since the last one is lost by a kill
_ROUNDS = 3  # a chunk that another program commits meanwhile is left out with its group, which is then written again


@dataclass(frozen=True, slots=True)
class ChunkGroup:
    """Chunks that are written to one file, by the names of their files, with their numbers of rows."""

    chunks: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class GroupWriterBuilder:
    """Makes a worker where the work is done."""

    output: str

    def __call__(self) -> GroupWriter:
        """Open the chunks and the table."""
        return GroupWriter(ChunkFolder(self.output), LanceTable.open(self.output))


@dataclass(frozen=True, slots=True)
class GroupWriter:
    """Writes the rows of one group of chunks after the other, as files of the table that nobody sees yet."""

    folder: ChunkFolder
    table: LanceTable

    def __call__(self, task: ChunkGroup) -> WrittenChunks:
        """Read the chunks and write them.

        Raises:
            OutputError: a chunk is damaged, or has another number of rows than files.
        """
        return self.table.write(self._rows(task))

    def _rows(self, task: ChunkGroup) -> Iterator[tuple[str, object]]:
        for stem, files in task.chunks:
            rows = self.folder.table(StoredChunk.of(stem))
            if rows.num_rows != files:
                raise OutputError(f"Chunk {stem} has {rows.num_rows} rows, and {files} files. Delete it.")
            yield stem, committed(rows)


def commit_chunks(table: LanceTable, stems: Mapping[str, int], row_bytes: int, engine: Engine) -> None:
    """Commit the chunks that a table does not have, many in one version.

    Args:
        table: takes the chunks; they are in its folder.
        stems: name of the file of a chunk -> its number of rows.
        row_bytes: of the vectors of a row.
        engine: runs the workers that write, where there is more than one group.

    Raises:
        IndexFileError: the store refused a commit several times.
        OutputError: a chunk is damaged, or others commit to the table all the time.
    """
    for _ in range(_ROUNDS):
        missing = sorted(stems.keys() - table.committed_chunks())
        if not missing:
            return
        groups = list(chunk_groups(missing, stems, row_bytes))
        held, count = list[WrittenChunks](), 0
        runner = engine if len(groups) > 1 else InProcess()  # workers need a while to begin
        for written in runner.run(groups, GroupWriterBuilder(table.url)):
            held.append(written)
            count += len(written.names)
            if count >= _COMMITTED:
                table.commit_written(held)
                held, count = [], 0
        table.commit_written(held)
    if left := stems.keys() - table.committed_chunks():
        raise OutputError(f"{len(left)} chunks were not committed, such as {min(left)}. Run the command again.")


def chunk_groups(stems: Sequence[str], sizes: Mapping[str, int], row_bytes: int) -> Iterator[ChunkGroup]:
    """Divide chunks into groups, in their order; a chunk that is larger than a group is one alone.

    Example:
        >>> from lmm_classifier.distributed.committing import chunk_groups
        >>> groups = chunk_groups(["a", "b", "c"], {"a": 4000, "b": 4000, "c": 9000}, row_bytes=100_000)
        >>> [[name for name, _ in group.chunks] for group in groups]
        [['a', 'b'], ['c']]
    """
    group, size = list[tuple[str, int]](), 0
    for stem in stems:
        if group and (len(group) >= _GROUP_CHUNKS or (size + sizes[stem]) * row_bytes > _GROUP_BYTES):
            yield ChunkGroup(tuple(group))
            group, size = [], 0
        group.append((stem, sizes[stem]))
        size += sizes[stem]
    if group:
        yield ChunkGroup(tuple(group))
