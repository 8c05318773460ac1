"""Where chunks are: the files of a table's folder that workers write and the driver reads.

| files | what |
|---|---|
| `chunks/3f/3f...parquet` | the rows of a chunk, which never change |
| `chunks/3f/3f...~1.parquet` | the same after the first try, where a file of it may be read at another try |
| `listing/3f/3f...` | the files of a chunk |
| `attempts/RUN/...`, `parts/RUN/...` | of chunks whose worker ended; they are deleted when a run is complete |
| `runs/...` | the chunks of each run |
| `statistics/...` | sums over the rows of a version of the table |

What is in `chunks` is the truth. Nothing else is needed to go on after an interruption.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmm_classifier.distributed.chunk_rows import from_bytes, to_bytes
from lmm_classifier.distributed.chunks import Chunk
from lmm_classifier.distributed.shared_files import FileEntry, SharedFiles, open_shared_files

_STEM = re.compile(r"chunks/[0-9a-f]{2}/(([0-9a-f]{32})(?:~([1-9][0-9]*))?)\.parquet")
FOLDERS = ("chunks", "listing", "attempts", "parts", "runs", "statistics")


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk that is there. `stem` is its name, with the number of tries where a file of it may be tried again."""

    name: str
    tries: int = 0  # 0: complete

    @property
    def stem(self) -> str:
        """Return the name of the file without its ending."""
        return f"{self.name}~{self.tries}" if self.tries else self.name

    def is_better_than(self, other: StoredChunk | None) -> bool:
        """Return whether this one is to be used and not the other."""
        return other is None or (other.tries > 0 and (self.tries == 0 or self.tries > other.tries))


class ChunkFolder:
    """The chunks at a folder or a URL."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.files: SharedFiles = open_shared_files(place)

    def stored(self) -> dict[str, StoredChunk]:
        """Return the chunks that are there by their names: of each the best one."""
        best: dict[str, StoredChunk] = {}
        for chunk, _ in self.entries():
            if chunk.is_better_than(best.get(chunk.name)):
                best[chunk.name] = chunk
        return best

    def entries(self) -> Iterator[tuple[StoredChunk, FileEntry]]:
        """Yield the chunks that are there with their files, in any order."""
        for entry in self.files.entries("chunks"):
            if match := _STEM.fullmatch(entry.name):
                yield StoredChunk(match[2], int(match[3] or 0)), entry

    def best(self, name: str) -> StoredChunk | None:
        """Return a chunk where it is there, without looking at the others."""
        if self.files.exists(_chunk_file(name)):
            return StoredChunk(name)
        tries = 0
        while self.files.exists(_chunk_file(f"{name}~{tries + 1}")):
            tries += 1
        return StoredChunk(name, tries) if tries else None

    def table(self, chunk: StoredChunk) -> Any:
        """Return the rows of a chunk as a `pyarrow.Table`; raise OutputError where the file is damaged."""
        name = _chunk_file(chunk.stem)
        return from_bytes(self.files.read(name), f"{self.place}/{name}")

    def put(self, chunk: StoredChunk, table: Any) -> bool:
        """Write a chunk unless it is there; return whether this call wrote it."""
        return self.files.put(_chunk_file(chunk.stem), to_bytes(table))

    def put_listing(self, chunk: Chunk) -> None:
        """Write the files of a chunk, where a worker finds them."""
        self.files.put(_listing_file(chunk.name), chunk.to_bytes())

    def listing(self, name: str) -> Chunk:
        """Return the files of a chunk; raise FileNotFoundError where its listing is gone."""
        return Chunk.from_bytes(name, self.files.read(_listing_file(name)))

    def delete(self, chunk: StoredChunk) -> None:
        """Delete the rows of a chunk."""
        self.files.delete(_chunk_file(chunk.stem))

    def part(self, run: str, name: str) -> bytes | None:
        """Return the rows of a part of a chunk whose worker ended, None where it is not there."""
        file = f"parts/{run}/{name}"
        return self.files.read(file) if self.files.exists(file) else None

    def put_part(self, run: str, name: str, data: bytes) -> None:
        """Write the rows of such a part."""
        self.files.put(f"parts/{run}/{name}", data)

    def begin(self, run: str, name: str) -> int:
        """Note that a worker begins with a chunk or a part of it; return how many times one began in this run."""
        tries = 1
        while not self.files.put(f"attempts/{run}/{name}.{tries}", b""):
            tries += 1
        return tries

    def end(self, run: str) -> None:
        """Delete what a run needs only until its end."""
        for folder in ("attempts", "parts"):
            for entry in list(self.files.entries(f"{folder}/{run}")):
                self.files.delete(entry.name)


def _chunk_file(stem: str) -> str:
    return f"chunks/{stem[:2]}/{stem}.parquet"


def _listing_file(name: str) -> str:
    return f"listing/{name[:2]}/{name}"
