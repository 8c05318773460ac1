"""Encode image files batch by batch, so that reading, encoding and storing overlap.

Threads read files, decode them and preprocess the images. One thread encodes. The caller uses the finished batches at
the same time. Only a few preprocessed images wait between these steps, so memory does not grow with the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.concurrency import prefetch, threaded_map
from lmm_classifier.core.errors import EncoderError, ImageError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.protocols import Encoder, Preprocessed
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import KnownImage, read_if_new

_MAX_UNENCODED = 1024  # files without a new vector in one batch, so that a run without new files shows progress


class LazyEncoder:
    """An encoder that is loaded when the first image is to be encoded."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._loaded: Encoder | None = None
        self._error: Exception | None = None
        self._lock = ForkSafeLock()

    def __call__(self) -> Encoder:
        """Return the encoder. The first call loads it; if that fails, every call raises the same error."""
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
class EncodedFile:
    """A file with a vector: its position in the list, its path, and the hash of its content."""

    position: int
    path: Path
    content_hash: str


@dataclass(frozen=True, slots=True)
class FailedImage:
    """A file without a vector: its position in the list, its path, the hash of its content if known, and the reason.

    `proven` says that the bytes alone prove the refusal. A failure that may pass, of the system or of the encoder, must
    not be stored.
    """

    position: int
    path: Path
    content_hash: str | None
    kind: str
    reason: str
    proven: bool = False


@dataclass
class EncodedBatch:
    """The results for some files. `vectors` (m, dim) are those of `encoded`, in that order."""

    encoded: list[EncodedFile] = field(default_factory=list)
    known: list[EncodedFile] = field(default_factory=list)  # files of known content, not encoded again
    failed: list[FailedImage] = field(default_factory=list)
    vectors: Float32Array = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def __len__(self) -> int:
        return len(self.encoded) + len(self.known) + len(self.failed)

    @property
    def is_small(self) -> bool:
        """Whether the batch may take more files without a new vector."""
        return len(self) - len(self.encoded) < _MAX_UNENCODED

    def joined(self, other: EncodedBatch) -> EncodedBatch:
        """Return a batch with the files of both, those of `other` last."""
        vectors = np.concatenate([batch.vectors for batch in (self, other) if batch.encoded] or [self.vectors])
        return EncodedBatch(self.encoded + other.encoded, self.known + other.known, self.failed + other.failed, vectors)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A preprocessed image that waits for the encoder."""

    file: EncodedFile
    preprocessed: Preprocessed


def encode_files(
    files: Iterable[Path], encoder: LazyEncoder, images: ImagesConfig, batch_size: int, known: Container[str] = ()
) -> Iterator[EncodedBatch]:
    """Read image files and encode them.

    Args:
        files: the paths.
        encoder: the encoder, loaded when the first image needs it.
        images: how files are read.
        batch_size: encoded images in a batch.
        known: content hashes of files that must not be encoded again.

    Yields:
        Batches in the order of the files; every file is in exactly one.
    """

    def min_side() -> int | None:
        return encoder().image_size if images.fast_jpeg else None

    def attempt(numbered: tuple[int, Path]) -> _Ready | EncodedFile | FailedImage:
        position, path = numbered
        try:
            image = read_if_new(path, images.limits, min_side, known)
        except ImageError as error:
            return FailedImage(position, path, error.content_hash, error.kind, str(error), error.proven)
        file = EncodedFile(position, path, image.content_hash)
        if isinstance(image, KnownImage):
            return file
        loaded = encoder()  # outside the try: an encoder that cannot be loaded is no fault of the image
        try:
            return _Ready(file, loaded.preprocess(image.image))
        except EncoderError as error:
            return FailedImage(position, path, image.content_hash, "no_vector", str(error))

    batch = EncodedBatch()
    for part in prefetch(_encoded(threaded_map(attempt, enumerate(files), images.readers), encoder, batch_size)):
        batch = batch.joined(part)
        if len(batch.encoded) >= batch_size or not batch.is_small:
            yield batch
            batch = EncodedBatch()
    if len(batch):
        yield batch


def _encoded(
    read: Generator[_Ready | EncodedFile | FailedImage, None, None], encoder: LazyEncoder, batch_size: int
) -> Generator[EncodedBatch, None, None]:
    """Encode as many images at a time as suits the encoder, but no more than `batch_size`."""
    batch, waiting = EncodedBatch(), list[_Ready]()
    with closing(read) as files:  # its threads end with this generator, after an error too
        for file in files:
            if isinstance(file, _Ready):
                waiting.append(file)
            elif isinstance(file, FailedImage):
                batch.failed.append(file)
            else:
                batch.known.append(file)
            if (waiting and len(waiting) >= min(encoder().batch_size, batch_size)) or not batch.is_small:
                yield _with_vectors(batch, waiting, encoder)
                batch, waiting = EncodedBatch(), []
    if waiting or len(batch):
        yield _with_vectors(batch, waiting, encoder)


def _with_vectors(batch: EncodedBatch, waiting: list[_Ready], encoder: LazyEncoder) -> EncodedBatch:
    if waiting:
        batch.vectors, errors = encode_each(encoder(), [image.preprocessed for image in waiting])
        for number, image in enumerate(waiting):
            file = image.file
            if number in errors:
                reason = str(errors[number])
                batch.failed.append(FailedImage(file.position, file.path, file.content_hash, "no_vector", reason))
            else:
                batch.encoded.append(file)
    return batch


def encode_each(encoder: Encoder, preprocessed: Sequence[Preprocessed]) -> tuple[Float32Array, dict[int, EncoderError]]:
    """Encode images and separate those that the encoder refuses.

    A batch that fails is encoded again one by one. If that fails for every image of several, the encoder itself is
    broken, and its first error is raised.

    Returns:
        Normalized embeddings (m, dim) of the good images in order, and the error of each other image by its position.
    """
    try:
        return _checked(encoder.encode(preprocessed)), {}
    except EncoderError as error:
        if len(preprocessed) == 1:
            return np.empty((0, encoder.fingerprint.dim), np.float32), {0: error}
    rows: list[Float32Array] = []
    errors: dict[int, EncoderError] = {}
    for number, image in enumerate(preprocessed):
        try:
            rows.append(_checked(encoder.encode([image])))
        except EncoderError as error:
            errors[number] = error
    if not rows:
        raise errors[0]
    return np.concatenate(rows), errors


def _checked(vectors: Float32Array) -> Float32Array:
    """Return `vectors` if all rows are finite and have norm 1 (to 1%), else raise EncoderError."""
    norms = np.linalg.norm(vectors, axis=1)
    if not (np.abs(norms - 1) < 0.01).all():  # false for NaN too
        raise EncoderError("the encoder gave a vector that is not finite or has no direction")
    return vectors
