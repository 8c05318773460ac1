"""Vectors of images in batches, and which images have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.concurrency import threaded_map
from lmm_classifier.core.errors import EncoderError, ImageError
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.protocols import Encoder, Preprocessed
from lmm_classifier.data.image_inputs import ImageInput, path_of, read_input
from lmm_classifier.embeddings.encode_files import encode_each

_NAMED = 10  # images in a message


def image_vectors(
    images: Sequence[ImageInput],
    encoder: Encoder,
    config: PipelineConfig,
    keep_going: bool,
    progress: ProgressCallback | None = None,
) -> Float32Array:
    """Return normalized vectors (n, dim) of n images.

    Args:
        images: the images.
        encoder: encodes them.
        config: has the limits of images, the number of readers and the size of a batch.
        keep_going: give images without a vector a row of NaN. Else the others are read, to name all bad ones at once,
            but not encoded any more.
        progress: called after each batch.

    Raises:
        ImageError: images cannot be read, where it does not keep going; the message names them.
        EncoderError: the encoder has no vector for images, or for none at all.
    """
    min_side = encoder.image_size if config.images.fast_jpeg else None

    def prepared(image: ImageInput) -> Preprocessed | ImageError | EncoderError:
        try:
            return encoder.preprocess(read_input(image, config.images.limits, min_side).image)
        except (ImageError, EncoderError) as error:
            return error

    vectors = np.full((len(images), encoder.fingerprint.dim), np.nan, np.float32)
    errors: dict[int, ImageError | EncoderError] = {}
    inputs = enumerate(threaded_map(prepared, images, config.images.readers))
    done = 0
    while batch := list(islice(inputs, config.batch_size)):
        done += len(batch)
        good = [(row, value) for row, value in batch if not isinstance(value, ImageError | EncoderError)]
        errors |= {row: value for row, value in batch if isinstance(value, ImageError | EncoderError)}
        if good and (keep_going or not errors):
            encoded, refused = encode_each(encoder, [value for _, value in good])
            errors |= {good[place][0]: error for place, error in refused.items()}
            vectors[[row for place, (row, _) in enumerate(good) if place not in refused]] = encoded
        if progress is not None:
            progress(Progress("encoding", done, len(images), len(errors)))
    if errors and not keep_going:
        raise _error_of(images, errors)
    return vectors


def _error_of(images: Sequence[ImageInput], errors: Mapping[int, ImageError | EncoderError]) -> Exception:
    """Return one error that names the images: of the kind that all have, else the common one."""
    kinds = {type(error) for error in errors.values()}
    common = EncoderError if kinds == {EncoderError} else ImageError
    kind = kinds.pop() if len(kinds) == 1 else common
    rows = sorted(errors)
    named = "; ".join(_described(images[row], row, errors[row]) for row in rows[:_NAMED])
    more = f"; and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    advice = 'Leave them out, or let on_error="nan" give them rows of NaN.'
    return kind(f"{len(rows)} of {len(images)} images have no vector: {named}{more}. {advice}")


def _described(image: ImageInput, row: int, error: Exception) -> str:
    name, text = path_of(image), str(error)
    if name is None:
        return f"image {row}: {text}"
    return text if name in text else f"{name}: {text}"
