"""Chunks of a listing: which files go together, and the name that says what a chunk is made of.

A chunk ends where the name of a file says so. So an image that is added or removed changes one chunk or two, and not
all that follow it (content-defined chunking, as in rsync and in Xia et al., 2016, "FastCDC").
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from operator import attrgetter
from typing import TypeVar

from PIL import __version__ as pillow_version

from lmm_classifier.core.errors import OutputError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import accepted_formats
from lmm_classifier.distributed.listing import ListedFile

MOST_FILES = 4096  # in a chunk
_FORMAT = "lmm-classifier chunk 1"  # changes with all that makes a chunk of other content from the same files
File = TypeVar("File")

_TICK = 2_000_000_000  # nanoseconds; the coarsest clock of a file system (FAT)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Files of a dataset that one task encodes, in the order of the listing."""

    name: str
    source: str  # the dataset, as `DatasetSpec.stored` writes it
    files: tuple[ListedFile, ...]

    def to_bytes(self) -> bytes:
        """Return the chunk as compressed JSON."""
        values = {"source": self.source, "files": self.files}
        return zlib.compress(json.dumps(values, separators=(",", ":")).encode("ascii"), 3)

    @classmethod
    def from_bytes(cls, name: str, data: bytes) -> Chunk:
        """Undo `to_bytes`; raise OutputError where the bytes are damaged."""
        try:
            values = json.loads(zlib.decompress(data))
            return cls(name, values["source"], tuple(ListedFile(*file) for file in values["files"]))
        except (zlib.error, ValueError, TypeError, KeyError) as error:
            raise OutputError(f"The listing of chunk {name} is damaged: {error}. Delete it and run again.") from None


def made_with(space_ids: Sequence[str], images: ImagesConfig) -> str:
    """Return what the content of chunks depends on apart from their files: the encoders, and the rules of decoding."""
    limits = (images.max_pixels, images.max_bytes, images.max_seconds, images.max_memory, images.fast_jpeg)
    return " ".join([_FORMAT, *space_ids, *map(str, limits), ",".join(accepted_formats()), pillow_version])


def chunk_name(files: Sequence[ListedFile], source: str, made: str) -> str:
    """Return the name of a chunk: a digest of all that it is made of.

    The source does not count where each file has a time, so that a dataset may move.

    Example:
        >>> from lmm_classifier.distributed.chunks import chunk_name
        >>> from lmm_classifier.distributed.listing import ListedFile
        >>> files = [ListedFile("stripes/1.png", "stripes", 812, 1_700_000_000, 0)]
        >>> len(chunk_name(files, "images", "an encoder"))
        32
    """
    has_times = all(max(file.modified, file.changed) > 0 for file in files)
    values = [made, "" if has_times else source, sorted(files)]
    return sha256(json.dumps(values, separators=(",", ":")).encode("ascii")).hexdigest()[:32]


def cut(files: Iterable[File], most: int, path: Callable[[File], str]) -> Iterator[list[File]]:
    """Yield the files in parts of at most `most`, usually more than half of that, and at least one.

    `path` returns the name of a file, which decides where a part ends.
    """
    least, part = max(most // 4, 1), list[File]()
    one_in = max(most // 2, 1)
    for file in files:
        part.append(file)
        if len(part) >= most or (len(part) >= least and _digest(path(file)) % one_in == 0):
            yield part
            part = []
    if part:
        yield part


def list_chunks(files: Iterable[ListedFile], source: str, made: str, most: int = MOST_FILES) -> Iterator[Chunk]:
    """Yield the chunks of a listing.

    A file that changed just now may change once more within a tick of the clock, and nothing would tell. So its chunk
    waits until that tick is over.
    """
    for part in cut(files, most, path=attrgetter("path")):
        newest = max(max(file.modified, file.changed) for file in part)
        if 0 <= (age := time.time_ns() - newest) < _TICK:
            time.sleep((_TICK - age) / 1e9)
        yield Chunk(chunk_name(part, source, made), source, tuple(part))


def _digest(path: str) -> int:
    return int.from_bytes(blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).digest())
