"""Turns picture files into vectors, batch by batch: what is read, what is encoded and what is kept overlap.

Files are read, decoded and reduced to what the encoder needs in threads; one thread encodes; whoever takes the batches
does so meanwhile. Between them wait a few pictures at a time, already reduced, so memory does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from lmm_classifier.core.concurrency import in_background, in_threads
from lmm_classifier.core.errors import EncoderError, ImageError
from lmm_classifier.core.protocols import Encoder, FloatArray, Prepared
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import SeenBefore, read_unless_known

_MOST_KNOWN = 1024  # files of known content in one batch: a run in which nothing is new shows its progress too


class LazyEncoder:
    """An encoder that is loaded when something is to be encoded, and not before."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._loaded: Encoder | None = None
        self._error: Exception | None = None
        self._lock = Lock()

    def __call__(self) -> Encoder:
        """The encoder; loaded once, whichever thread asks first. What went wrong then is raised again."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._loaded is None:
                try:
                    self._loaded = self._load()
                except Exception as error:
                    self._error = error
                    raise
            return self._loaded


@dataclass(frozen=True)
class Refused:
    """A file without a vector: its place, its content if it could be read, and why."""

    place: int
    content_hash: str | None
    kind: str
    reason: str


@dataclass
class Batch:
    """What came of some files, by their places in the list: vectors (m, dim) for `encoded`, in that order."""

    encoded: list[tuple[int, str]] = field(default_factory=list)  # place, content hash
    known: list[tuple[int, str]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    vectors: FloatArray = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def __len__(self) -> int:
        return len(self.encoded) + len(self.known) + len(self.refused)

    @property
    def is_small(self) -> bool:
        """Whether it may take in more files that need no vector."""
        return len(self) - len(self.encoded) < _MOST_KNOWN

    def joined(self, other: Batch) -> Batch:
        """The files of both, those of `other` last."""
        vectors = np.concatenate([one.vectors for one in (self, other) if len(one.encoded)] or [self.vectors])
        return Batch(self.encoded + other.encoded, self.known + other.known, self.refused + other.refused, vectors)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A picture that waits for the encoder."""

    place: int
    content_hash: str
    prepared: Prepared


_Known = tuple[int, str]  # place, content hash


def encode_files(
    files: Iterable[Path], encoder: LazyEncoder, images: ImagesConfig, batch_size: int, known: Container[str] = ()
) -> Iterator[Batch]:
    """Read `files` and encode those whose content is not `known`; every file is in one of the batches, in order."""

    def min_side() -> int | None:
        return encoder().image_size if images.fast_jpeg else None

    def attempt(numbered: tuple[int, Path]) -> _Ready | _Known | Refused:
        place, path = numbered
        try:
            found = read_unless_known(path, images.limits, min_side, known)
        except ImageError as error:
            return Refused(place, error.content_hash, error.kind, str(error))
        if isinstance(found, SeenBefore):
            return place, found.content_hash
        ready = encoder()  # one that cannot be loaded is no fault of the picture
        try:
            return _Ready(place, found.content_hash, ready.prepare(found.image))
        except EncoderError as error:
            return Refused(place, found.content_hash, "no_vector", str(error))

    batch = Batch()
    for part in in_background(_encoded(in_threads(attempt, enumerate(files), images.readers), encoder, batch_size)):
        batch = batch.joined(part)
        if len(batch.encoded) >= batch_size or not batch.is_small:
            yield batch
            batch = Batch()
    if len(batch):
        yield batch


def _encoded(
    read: Generator[_Ready | _Known | Refused, None, None], encoder: LazyEncoder, batch_size: int
) -> Generator[Batch, None, None]:
    """Encode as many pictures at a time as the encoder likes, but no more than `batch_size`."""
    batch, waiting = Batch(), list[_Ready]()
    with closing(read) as found:  # its threads end with this, whatever happens
        for one in found:
            if isinstance(one, _Ready):
                waiting.append(one)
            elif isinstance(one, Refused):
                batch.refused.append(one)
            else:
                batch.known.append(one)
            if (waiting and len(waiting) >= min(encoder().batch_size, batch_size)) or not batch.is_small:
                yield _with_vectors(batch, waiting, encoder)
                batch, waiting = Batch(), []
    if waiting or len(batch):
        yield _with_vectors(batch, waiting, encoder)


def _with_vectors(batch: Batch, waiting: list[_Ready], encoder: LazyEncoder) -> Batch:
    if waiting:
        batch.vectors, errors = encode_each(encoder(), [one.prepared for one in waiting])
        for number, one in enumerate(waiting):
            if number in errors:
                batch.refused.append(Refused(one.place, one.content_hash, "no_vector", str(errors[number])))
            else:
                batch.encoded.append((one.place, one.content_hash))
    return batch


def encode_each(encoder: Encoder, prepared: Sequence[Prepared]) -> tuple[FloatArray, dict[int, EncoderError]]:
    """Encode what can be encoded: unit rows (m, dim) of the good pictures in order, and an error for each other one.

    A batch that fails is encoded again one by one. If that fails for every picture of several, the encoder itself is
    broken, and its error is raised.
    """
    try:
        return _checked(encoder.encode(prepared)), {}
    except EncoderError as error:
        if len(prepared) == 1:
            return np.empty((0, encoder.fingerprint.dim), np.float32), {0: error}
    rows: list[FloatArray] = []
    errors: dict[int, EncoderError] = {}
    for number, one in enumerate(prepared):
        try:
            rows.append(_checked(encoder.encode([one])))
        except EncoderError as error:
            errors[number] = error
    if not rows:
        raise errors[0]
    return np.concatenate(rows), errors


def _checked(vectors: FloatArray) -> FloatArray:
    """Return `vectors` if all rows are finite and of unit length (to 1 %), else raise EncoderError."""
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.abs(lengths - 1) < 0.01).all():  # false for NaN too
        raise EncoderError("the encoder gave a vector that is not finite or has no direction")
    return vectors
