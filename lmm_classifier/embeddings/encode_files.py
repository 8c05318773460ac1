"""Encode image files batch by batch, so that reading, encoding and storing overlap.

Threads read files, decode them and preprocess the images, once for all encoders. One thread encodes. The caller uses
the finished batches at the same time. Only a few preprocessed images wait between these steps, so memory does not grow
with the dataset.
"""

from __future__ import annotations

import time
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.concurrency import prefetch, threaded_map
from lmm_classifier.core.errors import EncoderError, ImageError
from lmm_classifier.core.protocols import Encoder, Preprocessed
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import KnownImage, read_if_new
from lmm_classifier.data.places import Place
from lmm_classifier.embeddings.encoded_batch import EncodedBatch, EncodedFile, FailedImage, NewVectors
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder

_AHEAD = 4  # files per thread that are read before the encoder takes the first
_USUAL = 64  # images in a batch by default
_BATCHES_AHEAD = 2  # batches of the encoder that are read ahead, so that it never waits for the next image


@dataclass(frozen=True)
class Encoding:
    """How files are encoded.

    Each of `encoders` gives a vector of every file whose content it does not know. For those of `later`, files are
    only preprocessed, so that some of them can be encoded without reading them again.
    """

    encoders: Sequence[LazyEncoder]
    images: ImagesConfig
    batch_size: int  # encoded files in a batch
    known: Sequence[Container[str]] = ()  # for each encoder content hashes of files that it must not encode again
    later: Sequence[LazyEncoder] = ()

    def min_side(self) -> int | None:
        """Return the side in pixels that is needed of a file; None: all pixels."""
        if not self.images.fast_jpeg:
            return None
        return max(encoder().image_size for encoder in (*self.encoders, *self.later))

    def batch(self) -> int:
        """Return how many images to encode at a time: as many as suits the encoders.

        A chip that computes 160 images at once is idle for most of the time with 64. Whoever asks for less than the
        default gets no larger batches.
        """
        wanted = max(encoder().batch_size for encoder in self.encoders)
        return wanted if self.batch_size >= _USUAL else min(wanted, self.batch_size)

    def lacking(self, content_hash: str) -> list[bool]:
        """Return for each encoder whether it has to encode this content."""
        if not self.known:
            return [True] * len(self.encoders)
        return [content_hash not in known for known in self.known]

    def __contains__(self, content_hash: object) -> bool:
        """Return whether every encoder knows this content."""
        return bool(self.known) and all(content_hash in known for known in self.known)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A preprocessed image that waits for the encoders; None where one knows its content already."""

    file: EncodedFile
    inputs: Sequence[Preprocessed | None]
    later: tuple[Preprocessed | None, ...]  # None where one refuses it: it may never be asked
    seconds: Sequence[float]  # that preprocessing took, for each encoder


def encode_files(files: Iterable[Place], encoding: Encoding) -> Iterator[EncodedBatch]:
    """Read image files and encode them.

    Yields:
        Batches in the order of the files; every file is in exactly one.
    """

    def attempt(numbered: tuple[int, Place]) -> _Ready | EncodedFile | FailedImage:
        position, path = numbered
        try:
            image = read_if_new(path, encoding.images.limits, encoding.min_side, encoding)
        except ImageError as error:
            return FailedImage(position, path, error.content_hash, error.kind, str(error), error.proven)
        file = EncodedFile(position, path, image.content_hash)
        if isinstance(image, KnownImage):
            return file
        # outside of the try: an encoder that cannot be loaded is no fault of the image
        lacking = encoding.lacking(image.content_hash)
        encoders = [encoder() if lacks else None for encoder, lacks in zip(encoding.encoders, lacking, strict=True)]
        later = [encoder() for encoder in encoding.later]
        try:
            inputs, seconds = list[Preprocessed | None](), list[float]()
            for encoder in encoders:
                started = time.thread_time()
                inputs.append(None if encoder is None else encoder.preprocess(image.image))
                seconds.append(time.thread_time() - started)
            return _Ready(file, inputs, tuple(_prepared(encoder, image.image) for encoder in later), seconds)
        except EncoderError as error:
            return FailedImage(position, path, image.content_hash, "no_vector", str(error))

    def ahead() -> int:
        least = _AHEAD * encoding.images.readers
        started = all(encoder.is_loaded for encoder in encoding.encoders)  # the first file loads them
        return max(least, _BATCHES_AHEAD * encoding.batch()) if started else least

    waiting, encoded = list[EncodedBatch](), 0
    read = threaded_map(attempt, enumerate(files), encoding.images.readers, ahead)
    for part in prefetch(_encoded(read, encoding)):
        waiting.append(part)
        encoded += len(part.encoded)
        if encoded >= encoding.batch_size or not part.is_small:
            yield EncodedBatch.joined(waiting)
            waiting, encoded = [], 0
    if waiting:
        yield EncodedBatch.joined(waiting)


def _prepared(encoder: Encoder, image: Image) -> Preprocessed | None:
    """Return the input of an encoder, None where it refuses the image."""
    try:
        return encoder.preprocess(image)
    except EncoderError:
        return None


def _encoded(
    read: Generator[_Ready | EncodedFile | FailedImage, None, None], encoding: Encoding
) -> Generator[EncodedBatch, None, None]:
    batch, waiting = EncodedBatch(), list[_Ready]()
    with closing(read) as files:  # its threads end with this generator, after an error too
        for file in files:
            if isinstance(file, _Ready):
                waiting.append(file)
            elif isinstance(file, FailedImage):
                batch.failed.append(file)
            else:
                batch.known.append(file)
            if (waiting and len(waiting) >= encoding.batch()) or not batch.is_small:
                yield _with_vectors(batch, waiting, encoding)
                batch, waiting = EncodedBatch(), []
    if waiting or len(batch):
        yield _with_vectors(batch, waiting, encoding)


def _with_vectors(batch: EncodedBatch, waiting: list[_Ready], encoding: Encoding) -> EncodedBatch:
    """Encode the images that wait; one that an encoder refuses has no vector at all."""
    refused: dict[int, EncoderError] = {}
    new = []
    for number, encoder in enumerate(encoding.encoders):
        places = [p for p, image in enumerate(waiting) if image.inputs[number] is not None and p not in refused]
        inputs = [given for p in places if (given := waiting[p].inputs[number]) is not None]
        if not inputs:
            new.append(NewVectors(np.empty((0, 0), np.float32), np.empty(0, np.int64)))
            continue
        started = time.perf_counter()
        vectors, errors = encode_each(encoder(), inputs)
        seconds = time.perf_counter() - started + sum(waiting[place].seconds[number] for place in places)
        refused |= {places[position]: error for position, error in errors.items()}
        good = [place for position, place in enumerate(places) if position not in errors]
        new.append(NewVectors(vectors, np.array(good, np.int64), seconds))
    kept = [place for place in range(len(waiting)) if place not in refused]
    batch.new = [vectors.of(np.array(kept, np.int64)) for vectors in new]
    batch.encoded = [waiting[place].file for place in kept]
    batch.inputs = [waiting[place].later for place in kept] if encoding.later else []
    for place, error in sorted(refused.items()):
        file = waiting[place].file
        batch.failed.append(FailedImage(file.position, file.path, file.content_hash, "no_vector", str(error)))
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
