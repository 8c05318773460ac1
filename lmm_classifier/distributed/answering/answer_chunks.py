"""Images to classify in chunks: what one task is given, and the files by which the workers tell what they found."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.data.places import Place
from lmm_classifier.distributed.answering.query_file import (
    QueryFile,
    pairs_from_bytes,
    pairs_to_bytes,
    queries_from_bytes,
    queries_to_bytes,
)
from lmm_classifier.distributed.answering.stored_answers import from_lines, to_lines
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.chunks import cut
from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs


@dataclass(frozen=True, slots=True)
class AnswerChunk:
    """Images that one task classifies, with a name that says what their answers depend on."""

    number: int  # its place among all
    name: str
    places: tuple[Place, ...]


def answer_chunks(places: Sequence[Place], most: int, identity: str | None) -> Iterator[AnswerChunk]:
    """Yield the images in chunks of at most `most`.

    `identity` says what answers them: the same images then have chunks of the same names, also where a run begins
    later among them. Without one no other run has these names.
    """
    made = identity if identity is not None else secrets.token_hex(16)
    for number, part in enumerate(cut(places, most, path=str)):
        files = [(str(place), *_status(place)) if identity is not None else (str(place), number) for place in part]
        values = json.dumps([made, files], separators=(",", ":"))
        yield AnswerChunk(number, sha256(values.encode("ascii")).hexdigest()[:32], tuple(part))


def _status(place: Place) -> tuple[int, ...]:
    """Return what changes when the image does; nothing where it cannot be told."""
    try:
        status = place.stat()
    except (OSError, ValueError, LmmClassifierError):
        return ()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True)
class AnswerFolder:
    """The files of a run of `classify`, in a folder or at a URL; `answers` are the results of a chunk."""

    place: str
    run: str  # names this run, among others in the same folder

    @cached_property
    def chunks(self) -> ChunkFolder:
        """The marks and the parts of chunks whose worker ended."""
        return ChunkFolder(self.place)

    def has_answers(self, name: str) -> bool:
        """Return whether the results of a chunk are there."""
        return self.chunks.files.exists(_answers(name))

    def put_answers(self, name: str, results: Sequence[Classification]) -> None:
        """Write the results of a chunk unless they are there."""
        self.chunks.files.put(_answers(name), to_lines(results))

    def answers(self, name: str) -> list[Classification]:
        """Return the results of a chunk."""
        return from_lines(self.chunks.files.read(_answers(name)), f"{self.place}/{_answers(name)}")

    def has_queries(self, name: str, step: int) -> bool:
        """Return whether the vectors of a chunk by the encoders of a step are there."""
        return self.chunks.files.exists(_queries(name, step))

    def put_queries(self, name: str, step: int, file: QueryFile) -> None:
        """Write the vectors of a chunk, and what competes, unless they are there."""
        self.chunks.files.put(_queries(name, step), queries_to_bytes(file))

    def queries(self, name: str, step: int) -> QueryFile:
        """Return the vectors of a chunk, and what competes."""
        place = _queries(name, step)
        return queries_from_bytes(self.chunks.files.read(place), f"{self.place}/{place}")

    def has_pairs(self, name: str, encoder: int, start: int) -> bool:
        """Return whether a chunk was compared by an encoder with the range of labels that begins at `start`."""
        return self.chunks.files.exists(_pairs(name, encoder, start))

    def put_pairs(self, name: str, encoder: int, start: int, pairs: ComparedPairs) -> None:
        """Write the pairs of a chunk with such a range, unless they are there."""
        self.chunks.files.put(_pairs(name, encoder, start), pairs_to_bytes(pairs))

    def pairs(self, name: str, encoder: int, start: int) -> ComparedPairs:
        """Return the pairs of a chunk with such a range."""
        place = _pairs(name, encoder, start)
        return pairs_from_bytes(self.chunks.files.read(place), f"{self.place}/{place}")

    def end(self, names: Sequence[str]) -> None:
        """Delete the files of these chunks, when all their results were taken; those of interrupted runs too."""
        self._delete(names, "answers", "queries", "pairs", "attempts", "parts")

    def end_comparison(self, names: Sequence[str]) -> None:
        """Delete the vectors and pairs of these chunks, when their results are there."""
        self._delete(names, "queries", "pairs")

    def _delete(self, names: Sequence[str], *folders: str) -> None:
        wanted = set(names)
        for folder in folders:
            for entry in list(self.chunks.files.entries(folder)):
                if chunk_of(entry.name) in wanted:
                    self.chunks.files.delete(entry.name)


def chunk_of(file: str) -> str:
    """Return the chunk that a file is about."""
    return file.rpartition("/")[2].partition(".")[0]


def _answers(name: str) -> str:
    return f"answers/{name[:2]}/{name}.jsonl"


def _queries(name: str, step: int) -> str:
    return f"queries/{name[:2]}/{name}.{step}.npz"


def _pairs(name: str, encoder: int, start: int) -> str:
    return f"pairs/{name[:2]}/{name}.{encoder}.{start}.npz"
