"""The chunks of each run: what the dataset was cut into, so that the next run finds rows to take over."""

from __future__ import annotations

import json
import secrets
import zlib
from bisect import bisect_left
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from lmm_classifier.core.errors import OutputError
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.chunks import Chunk


class PlannedChunk(NamedTuple):
    """A chunk of a run without its files: its name, the ids of the first and the last file, and how many there are."""

    name: str
    first: str
    last: str
    files: int

    @classmethod
    def of(cls, chunk: Chunk) -> PlannedChunk:
        """Return the entry of a chunk."""
        paths = [file.path for file in chunk.files]
        return cls(chunk.name, min(paths), max(paths), len(paths))


@dataclass(frozen=True, slots=True)
class Run:
    """One run over a dataset, and what it was cut into."""

    id: str
    chunks: tuple[PlannedChunk, ...]


def new_run_id(made: str, source: str) -> str:
    """Return an id that no other run has; those with the same encoders and dataset begin alike, and sort by time."""
    return f"{_prefix(made, source)}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


def write_run(folder: ChunkFolder, run: Run) -> None:
    """Write the chunks of a run."""
    values = {"id": run.id, "chunks": run.chunks}
    folder.files.put(f"runs/{run.id}", zlib.compress(json.dumps(values, separators=(",", ":")).encode("ascii"), 3))


def latest_run(folder: ChunkFolder, made: str, source: str) -> Run | None:
    """Return the latest run with the same encoders over the same dataset, complete or not; None where there is none."""
    names = [entry.name for entry in folder.files.entries("runs")]
    name = max((name for name in names if name.startswith(f"runs/{_prefix(made, source)}-")), default=None)
    return None if name is None else read_run(folder, name)


def read_run(folder: ChunkFolder, name: str) -> Run:
    """Read the chunks of a run by the name of its file; raise OutputError where it is damaged."""
    try:
        values = json.loads(zlib.decompress(folder.files.read(name)))
        return Run(values["id"], tuple(PlannedChunk(*chunk) for chunk in values["chunks"]))
    except (zlib.error, ValueError, TypeError, KeyError) as error:
        raise OutputError(f"{folder.place}/{name} is damaged: {error}. Delete it and run again.") from None


class FormerChunks:
    """Finds the stored chunks of a former run that have files between two ids."""

    def __init__(self, run: Run | None, stored: Container[str]) -> None:
        chunks = [] if run is None else [chunk for chunk in run.chunks if chunk.name in stored]
        self._chunks = sorted(chunks, key=lambda chunk: chunk.last)
        self._last = [chunk.last for chunk in self._chunks]

    def overlapping(self, chunk: PlannedChunk, most: int = 8) -> Sequence[PlannedChunk]:
        """Return the first of them, at most `most`; a chunk that has the same name is none."""
        found = list[PlannedChunk]()
        for place in range(bisect_left(self._last, chunk.first), len(self._chunks)):
            former = self._chunks[place]
            if former.first > chunk.last or len(found) >= most:
                break
            if former.name != chunk.name:
                found.append(former)
        return found


def _prefix(made: str, source: str) -> str:
    return sha256(f"{made}\0{source}".encode("utf-8", "surrogatepass")).hexdigest()[:12]
