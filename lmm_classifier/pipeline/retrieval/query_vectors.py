"""The vectors of images that are to be classified, by each encoder; some are computed only when they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import EncoderError, ImageError
from lmm_classifier.core.protocols import Encoder, Preprocessed
from lmm_classifier.embeddings.encode_files import encode_each

logger: logging.Logger = logging.getLogger(__name__)

Refusal = ImageError | EncoderError
LoadInput = Callable[[int, int], Preprocessed]  # row, place of an encoder -> input; raises ImageError or EncoderError


@dataclass(frozen=True)
class QueryVectors:
    """The vectors of n images by each encoder, which is named by its place.

    `known` holds vectors (n, dim) that are there already, and `partly` those of some of the images: their rows (m,),
    ascending, and vectors (m, dim). The others are encoded from their input when they are asked for, many at a time.
    """

    count: int
    known: Mapping[int, Float32Array]
    encoders: Sequence[Encoder] = ()
    load_input: LoadInput | None = None
    start: int = 0  # row of the first image among those of `load_input`
    partly: Mapping[int, tuple[IntArray, Float32Array]] = field(default_factory=dict)

    @classmethod
    def given(cls, *vectors: Float32Array) -> QueryVectors:
        """Take the vectors (n, dim) of each encoder."""
        return cls(len(vectors[0]), dict(enumerate(vectors)))

    @classmethod
    def of_images(
        cls, encoders: Sequence[Encoder], images: Sequence[Image.Image], first: Sequence[int] = ()
    ) -> QueryVectors:
        """Encode upright RGB images by the encoders at the places `first` now, by others when they are asked for.

        Raises EncoderError where one of the first ones has no vector for an image.
        """
        vectors, refused = cls.of_inputs(
            encoders, len(images), lambda row, place: encoders[place].preprocess(images[row]), first
        )
        for error in refused.values():
            raise error
        return vectors

    @classmethod
    def of_inputs(
        cls, encoders: Sequence[Encoder], count: int, load_input: LoadInput, first: Sequence[int] = ()
    ) -> tuple[QueryVectors, dict[int, Refusal]]:
        """Encode those of n images that none of the encoders at the places `first` refuses.

        Returns:
            The vectors of these images, and the errors of the others by their row.

        Raises:
            EncoderError: an encoder refuses every image of several; then it is broken.
        """
        refused, encoded = dict[int, Refusal](), dict[int, tuple[list[int], Float32Array]]()
        for place in first:
            inputs = dict[int, Preprocessed]()
            for row in range(count):
                if row not in refused:
                    try:
                        inputs[row] = load_input(row, place)
                    except (ImageError, EncoderError) as error:
                        refused[row] = error
            rows = list(inputs)
            vectors, errors = encode_each(encoders[place], list(inputs.values()))
            refused |= {rows[number]: error for number, error in errors.items()}
            encoded[place] = [row for row in rows if row not in refused], vectors
        kept = [row for row in range(count) if row not in refused]
        known = {place: vectors[np.isin(rows, kept)] for place, (rows, vectors) in encoded.items()}
        return cls(len(kept), known, encoders, lambda row, place: load_input(kept[row], place)), refused

    def __len__(self) -> int:
        return self.count

    def part(self, rows: slice) -> QueryVectors:
        """Return those of consecutive images."""
        start, stop, _ = rows.indices(self.count)
        known = {place: vectors[start:stop] for place, vectors in self.known.items()}
        partly = dict[int, tuple[IntArray, Float32Array]]()
        for place, (numbers, vectors) in self.partly.items():
            first, last = np.searchsorted(numbers, [start, stop])
            partly[place] = numbers[first:last] - start, vectors[first:last]
        return QueryVectors(stop - start, known, self.encoders, self.load_input, self.start + start, partly)

    def of(self, encoder: int, rows: IntArray) -> tuple[Float32Array, IntArray]:
        """Return the vectors (m, dim) of an encoder, and the rows (m,) that they are of.

        A row that cannot be encoded is left out, and a warning is logged.
        """
        if encoder in self.known:
            return self.known[encoder][rows], rows
        if encoder in self.partly:
            numbers, vectors = self.partly[encoder]
            _, places, of_rows = np.intersect1d(numbers, rows, assume_unique=True, return_indices=True)
            return vectors[places], rows[of_rows]
        if self.load_input is None:
            raise ValueError(f"expected the vectors of encoder {encoder}, got those of {sorted(self.known)}")
        opened = self.encoders[encoder]
        inputs, loaded = list[Preprocessed](), list[int]()
        for row in rows.tolist():
            try:
                inputs.append(self.load_input(self.start + row, encoder))
                loaded.append(row)
            except (ImageError, EncoderError) as error:
                logger.warning("An image cannot be encoded by %s: %s", opened.fingerprint.name, error)
        if not inputs:
            return np.empty((0, opened.fingerprint.dim), np.float32), np.empty(0, np.int64)
        try:
            vectors, errors = encode_each(opened, inputs)
        except EncoderError as error:  # it refuses all of them; each has the answer before
            vectors, errors = (
                np.empty((0, opened.fingerprint.dim), np.float32),
                dict.fromkeys(range(len(inputs)), error),
            )
        for refused in errors.values():
            logger.warning("An image cannot be encoded by %s: %s", opened.fingerprint.name, refused)
        return vectors, np.array([row for place, row in enumerate(loaded) if place not in errors], np.int64)
