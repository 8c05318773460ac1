"""Encode chunks of images: what one worker does, on whichever machine it is.

A worker reports what it did, and never returns vectors: they are in the file of the chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.places import MemberStatus, Place, Root
from lmm_classifier.data.readers.known_status import with_known_status
from lmm_classifier.data.readers.opening import open_root
from lmm_classifier.data.readers.remote import RemoteFolder
from lmm_classifier.distributed.chunk_folder import ChunkFolder, StoredChunk
from lmm_classifier.distributed.chunk_rows import (
    UNREADABLE_NAME,
    FileRow,
    from_bytes,
    from_table,
    known_rows,
    made_of,
    storable,
    to_bytes,
    to_table,
)
from lmm_classifier.distributed.chunks import Chunk, made_with
from lmm_classifier.distributed.isolation import TRIES, IsolatedWork
from lmm_classifier.distributed.listing import ListedFile
from lmm_classifier.distributed.watchdog import Watchdog
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.embeddings.opening import open_encoders

KILLED = "ended_worker"  # kind of an image that ended its worker each time
PATIENCE = 900.0  # seconds without a finished batch after which a worker ends


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """A chunk to encode. `former` are stored chunks of the same part of the dataset, whose rows can be taken over."""

    name: str
    former: tuple[StoredChunk, ...] = ()


@dataclass(frozen=True, slots=True)
class ChunkOutcome:
    """A chunk that is there now."""

    chunk: StoredChunk
    files: int
    encoded: int  # images that were encoded for it now
    failed: int  # files without a vector


@dataclass(frozen=True)
class ChunkWorkerBuilder:
    """Makes a worker where the work is done. It is small and holds no model, so that it can be sent anywhere."""

    place: str  # of the chunks
    config: Mapping[str, Any]  # `PipelineConfig.model_dump`
    run: str
    threads: int = 0  # that decode and compute; 0: one per processor
    patience: float = PATIENCE

    def __call__(self) -> ChunkWorker:
        """Open the encoders and return the worker."""
        config = PipelineConfig.model_validate(dict(self.config))
        if self.threads:
            config.images.threads = config.images.threads or self.threads
            for encoder in config.encoders:
                encoder.threads = encoder.threads or self.threads
        encoders = open_encoders(config.encoders, advise=False)
        return ChunkWorker(ChunkFolder(self.place), config, encoders, self.run, self.patience)


@dataclass
class ChunkWorker:
    """Encodes one chunk after the other."""

    folder: ChunkFolder
    config: PipelineConfig
    encoders: Sequence[Encoder]
    run: str
    patience: float = PATIENCE
    _roots: dict[str, Root] = field(default_factory=dict)

    def __call__(self, task: ChunkTask) -> ChunkOutcome:
        """Make the rows of a chunk, unless they are there, and write them."""
        former = self.folder.best(task.name)
        if former is not None and former.tries == 0:
            return self._known(former)
        chunk = self.folder.listing(task.name)
        known = self._former_rows([*task.former, *([former] if former else [])])
        with Watchdog(self.patience, f"chunk {task.name}") as watchdog:
            making = _Making(self, chunk, known, watchdog)
            rows = making.rows()
        if [storable(row.file.path) for row in rows] != [storable(file.path) for file in chunk.files]:
            raise EncoderError(f"Chunk {task.name} has {len(rows)} rows for {len(chunk.files)} files. Run again.")
        failed, open_rows = sum(not row.is_good for row in rows), [row for row in rows if not row.is_final]
        stored = StoredChunk(task.name, (former.tries if former else 0) + 1 if open_rows else 0)
        if former is not None and open_rows and making.is_same(rows):
            return ChunkOutcome(former, len(rows), making.encoded, failed)  # trying again changed nothing
        self.folder.put(stored, to_table(rows, self.dims, self.made))
        return ChunkOutcome(stored, len(rows), making.encoded, failed)

    @property
    def dims(self) -> list[int]:
        """Return the numbers in a vector of each encoder."""
        return [encoder.fingerprint.dim for encoder in self.encoders]

    @property
    def made(self) -> str:
        """Return what the rows depend on apart from their files."""
        return made_with([encoder.fingerprint.space_id for encoder in self.encoders], self.config.images)

    def root(self, chunk: Chunk) -> Root:
        """Return where the images of a chunk are."""
        if chunk.source not in self._roots:
            self._roots = {chunk.source: with_known_status(open_root(chunk.source))}
        root = self._roots[chunk.source]
        if isinstance(root, RemoteFolder):  # the listing told what a server would be asked for each file
            sizes = {f.path: MemberStatus(f.size, f.modified, f.changed) for f in chunk.files if f.size >= 0}
            return RemoteFolder(root.url, sizes)
        return root

    def _former_rows(self, chunks: Sequence[StoredChunk]) -> list[FileRow]:
        rows = list[FileRow]()
        for chunk in chunks:
            table = self.folder.table(chunk)
            if made_of(table) == self.made:
                rows += from_table(table, chunk.stem)
        return rows

    def _known(self, chunk: StoredChunk) -> ChunkOutcome:
        kinds = self.folder.table(chunk)["kind"]
        return ChunkOutcome(chunk, len(kinds), 0, len(kinds) - kinds.null_count)


@dataclass
class _Making:
    """The rows of one chunk while they are made."""

    worker: ChunkWorker
    chunk: Chunk
    former: Sequence[FileRow]
    watchdog: Watchdog
    encoded: int = 0

    def __post_init__(self) -> None:
        self._known = known_rows(self.former)
        self._by_content = {row.content_hash: row for row in self.former if row.is_good}

    def rows(self) -> list[FileRow]:
        """Return the rows of the files of the chunk, in order."""
        worker, files = self.worker, self.chunk.files
        work = IsolatedWork(
            worker.folder,
            worker.run,
            self.chunk.name,
            len(files),
            make=lambda start, stop: self._encoded(files[start:stop]),
            refuse=lambda place: _refused(files[place]),
            to_bytes=lambda rows: to_bytes(to_table(rows, worker.dims, worker.made)),
            from_bytes=lambda data: from_table(from_bytes(data, self.chunk.name), self.chunk.name),
            known=self._all_known,
        )
        return work.rows()

    def _all_known(self, start: int, stop: int) -> list[FileRow] | None:
        files = self.chunk.files[start:stop]
        return [self._known[file] for file in files] if all(file in self._known for file in files) else None

    def is_same(self, rows: Sequence[FileRow]) -> bool:
        """Return whether the former chunk has these rows already."""
        before = {row.file: (row.content_hash, row.kind, row.reason) for row in self.former}
        return all(before.get(row.file) == (row.content_hash, row.kind, row.reason) for row in rows)

    def _encoded(self, files: Sequence[ListedFile]) -> list[FileRow]:
        """Read and encode files; rows of former chunks are taken over where the file, or its content, is the same."""
        made = {file: row for file in files if (row := self._known.get(file)) is not None}
        made |= {file: _unstorable(file) for file in files if storable(file.path) != file.path}
        todo = [file for file in files if file not in made]
        root, config = self.worker.root(self.chunk), self.worker.config
        places: list[Place] = [root / file.path for file in todo]
        known = [set(filter(None, self._by_content))] * len(self.worker.encoders)
        lazy = [LazyEncoder(partial(_same, encoder)) for encoder in self.worker.encoders]
        for batch in encode_files(places, Encoding(lazy, config.images, config.batch_size, known)):
            self.watchdog.beat()
            self.encoded += len(batch.encoded)
            for place, file in enumerate(batch.encoded):
                vectors = tuple(new.vectors[place] for new in batch.new)
                made[todo[file.position]] = FileRow(todo[file.position], file.content_hash, vectors)
            for file in batch.known:
                former = self._by_content[file.content_hash]
                made[todo[file.position]] = FileRow(todo[file.position], file.content_hash, former.vectors)
            for failed in batch.failed:
                listed = todo[failed.position]
                reason = failed.kind, failed.reason, failed.proven
                made[listed] = FileRow(listed, failed.content_hash, (), *reason)
        return [made[file] for file in files]


def _refused(file: ListedFile) -> FileRow:
    reason = f"the worker that read or encoded it ended {TRIES} times, so it is left out"
    return FileRow(file, None, (), KILLED, reason)


def _unstorable(file: ListedFile) -> FileRow:
    reason = "its name is no Unicode text, which a table cannot hold: rename the file"
    return FileRow(file, None, (), UNREADABLE_NAME, reason)


def _same(encoder: Encoder) -> Encoder:
    return encoder
