"""Turns picture files into vectors, batch by batch: decoding in threads while the encoder works."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
from PIL.Image import Image

from lmm_classifier.config import ImagesConfig
from lmm_classifier.embeddings.isolate import encode_each
from lmm_classifier.errors import ImageError
from lmm_classifier.images import SeenBefore, read_new_pictures
from lmm_classifier.protocols import Encoder, FloatArray

_MOST_KNOWN = 1024  # files of known content in one batch: a run in which nothing is new shows its progress too


class LazyEncoder:
    """An encoder that is loaded when something is to be encoded, and not before."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._loaded: Encoder | None = None
        self._lock = Lock()

    def __call__(self) -> Encoder:
        """The encoder; loaded once, whichever thread asks first."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
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


def encode_files(
    files: Sequence[Path], encoder: LazyEncoder, images: ImagesConfig, batch_size: int, known: Container[str] = ()
) -> Iterator[Batch]:
    """Read `files` and encode those whose content is not `known`; every file is in one of the batches, in order."""
    limits = images.limits
    threads = images.threads or min(8, os.cpu_count() or 1)

    def min_side() -> int | None:
        return encoder().image_size if images.fast_jpeg else None

    batch, pictures = Batch(), list[Image]()
    for place, found in enumerate(read_new_pictures(files, limits, min_side, threads, known)):
        if isinstance(found, ImageError):
            batch.refused.append(Refused(place, found.content_hash, found.kind, str(found)))
        elif isinstance(found, SeenBefore):
            batch.known.append((place, found.content_hash))
        else:
            batch.encoded.append((place, found.content_hash))
            pictures.append(found.image)
        if len(pictures) == batch_size or len(batch) - len(pictures) >= _MOST_KNOWN:
            yield _encoded(batch, pictures, encoder)
            batch, pictures = Batch(), []
    if len(batch):
        yield _encoded(batch, pictures, encoder)


def _encoded(batch: Batch, pictures: Sequence[Image], encoder: LazyEncoder) -> Batch:
    if pictures:
        batch.vectors, errors = encode_each(encoder(), pictures)
        refused = [Refused(*batch.encoded[number], "no_vector", str(error)) for number, error in errors.items()]
        batch.refused.extend(refused)
        batch.encoded = [one for number, one in enumerate(batch.encoded) if number not in errors]
    return batch
