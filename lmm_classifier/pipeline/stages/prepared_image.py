"""An image that is ready to be encoded: only the small inputs of the encoders wait, not the pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image

from lmm_classifier.core.errors import EncoderError, UnreadableImageError
from lmm_classifier.core.protocols import Encoder, Preprocessed
from lmm_classifier.data.image_inputs import ImageInput, path_of, place_of, read_input
from lmm_classifier.data.images import read_image
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image that was decoded and preprocessed.

    `load_image` returns its upright RGB pixels, for a reranker or for an encoder that is asked later. An image from a
    file or from bytes is decoded again for that, so that no pixels wait in memory.
    """

    inputs: Mapping[int, Preprocessed]  # by the place of the encoder
    load_image: Callable[[], Image.Image]  # raises ImageError where the file changed or is missing
    content_hash: str = ""  # empty where the image has no file
    path: str | None = None
    options: AnswerOptions = ANY

    def input_of(self, place: int, encoder: Encoder) -> Preprocessed:
        """Return the input of the encoder at `place`; raise ImageError or EncoderError where it has none."""
        given = self.inputs.get(place)
        return encoder.preprocess(self.load_image()) if given is None else given


@dataclass(frozen=True)
class Preparation:
    """How images are prepared.

    The encoders at the places `first` must accept an image. For those at `later` it is preprocessed too, because its
    pixels are not kept; they may never be asked. With `keep_pixels` that and every refusal is left to the encoding.
    """

    encoders: Sequence[Encoder]
    limits: ImageLimits
    min_side: int | None  # the side in pixels that the encoders need of a file; None: all pixels
    first: Sequence[int]
    later: Sequence[int] = ()
    keep_pixels: bool = False

    def __call__(self, image: ImageInput, options: AnswerOptions = ANY) -> PreparedImage:
        """Decode and preprocess an image that `check_input` accepts; raise ImageError or EncoderError."""
        if isinstance(image, bytearray | memoryview):
            image = bytes(image)  # it may change before it is decoded again
        decoded = read_input(image, self.limits, self.min_side)
        inputs = {}
        for place in self.first if self.keep_pixels else (*self.first, *self.later):
            try:
                inputs[place] = self.encoders[place].preprocess(decoded.image)
            except EncoderError:  # it refuses the image again when it is asked
                if place in self.first and not self.keep_pixels:
                    raise
        if self.keep_pixels or not isinstance(image, str | os.PathLike | bytes | Place):
            load_image = partial(_same, decoded.image)
        elif isinstance(image, bytes):
            load_image = partial(_decoded, image, self.limits, self.min_side)
        else:
            load_image = partial(read_again, place_of(image), decoded.content_hash, self.limits, self.min_side)
        return PreparedImage(inputs, load_image, decoded.content_hash, path_of(image), options)


def read_again(path: Place, content_hash: str, limits: ImageLimits, min_side: int | None) -> Image.Image:
    """Return the pixels that the encoder saw; raise ImageError if the file changed meanwhile."""
    decoded = read_image(path, limits, min_side)
    if decoded.content_hash != content_hash:
        raise UnreadableImageError(f"{path}: the file changed after it was encoded")
    return decoded.image


def _same(image: Image.Image) -> Image.Image:
    return image


def _decoded(data: bytes, limits: ImageLimits, min_side: int | None) -> Image.Image:
    return read_input(data, limits, min_side).image
