"""Images with their vectors: what the vote needs of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.places import Place
from lmm_classifier.embeddings.encoded_batch import EncodedBatch
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors, Refusal
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions
from lmm_classifier.pipeline.stages.prepared_image import PreparedImage

ReadAgain = Callable[[Place, str], Image.Image]  # path, content hash -> its pixels; raises ImageError


@dataclass(frozen=True)
class EncodedImages:
    """Images, and the vectors of those that the encoders accept.

    Other encoders of a cascade are asked while the images are voted on.
    """

    images: Sequence[PreparedImage]
    vectors: QueryVectors  # of the accepted images, in their order
    refused: Mapping[int, Refusal]  # the error of each other image, by its place among `images`

    @classmethod
    def of(cls, images: Sequence[PreparedImage], encoders: Sequence[Encoder], first: Sequence[int]) -> EncodedImages:
        """Encode images by the encoders at the places `first`.

        Raises EncoderError where an encoder refuses every image of several: then it is broken.
        """
        vectors, refused = QueryVectors.of_inputs(
            encoders, len(images), lambda row, place: images[row].input_of(place, encoders[place]), first
        )
        return cls(images, vectors, refused)

    @classmethod
    def of_files(
        cls,
        batch: EncodedBatch,
        encoders: Sequence[Encoder],
        first: Sequence[int],
        later: Sequence[int],
        again: ReadAgain,
        options: AnswerOptions = ANY,
    ) -> EncodedImages:
        """Take the encoded files of a batch.

        Args:
            batch: has vectors by the encoders at the places `first`, and inputs of those at `later`.
            encoders: all of them.
            first: places of encoders.
            later: places of encoders.
            again: reads the pixels of a file whose content hash is known.
            options: of all these files.
        """
        images = []
        for number, file in enumerate(batch.encoded):
            inputs = zip(later, batch.inputs[number]) if batch.inputs else ()
            given = {place: array for place, array in inputs if array is not None}
            load_image = partial(again, file.path, file.content_hash)
            images.append(PreparedImage(given, load_image, file.content_hash, str(file.path), options))
        # where no file of the batch can be read, an encoder may not be loaded, so nothing has its number of columns
        known = {place: _with_columns(vectors, encoders[place]) for place, vectors in zip(first, batch.vectors)}
        # an input is missing where the index was calibrated anew meanwhile, or where an encoder refuses the image
        vectors = QueryVectors(
            len(images), known, encoders, lambda row, place: images[row].input_of(place, encoders[place])
        )
        return cls(images, vectors, {})

    def __len__(self) -> int:
        return len(self.images)

    def vectors_of(self, place: int) -> dict[int, Float32Array]:
        """Return the vectors (dim,) of the image at a place, by the encoders that were asked; none of a refused one."""
        if place in self.refused:
            return {}
        row = place - sum(refused < place for refused in self.refused)
        return {encoder: vectors[row].copy() for encoder, vectors in self.vectors.known.items()}

    @property
    def accepted(self) -> list[PreparedImage]:
        """Return the images that have vectors."""
        return [image for place, image in enumerate(self.images) if place not in self.refused]


def _with_columns(vectors: Float32Array, encoder: Encoder) -> Float32Array:
    return vectors if len(vectors) else np.empty((0, encoder.fingerprint.dim), np.float32)
