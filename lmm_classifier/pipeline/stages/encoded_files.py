"""Files that are read and encoded in background threads, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.places import Place
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.encoded_batch import EncodedBatch
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions
from lmm_classifier.pipeline.stages.encoded_images import EncodedImages
from lmm_classifier.pipeline.stages.prepared_image import read_again


def encoded_files(
    files: Iterable[Place],
    encoders: Callable[[], Sequence[Encoder]],
    first: Sequence[int],
    later: Sequence[int],
    config: PipelineConfig,
    options: AnswerOptions = ANY,
) -> Iterator[tuple[EncodedBatch, EncodedImages]]:
    """Yield batches of files, and their encoded images.

    Args:
        files: image files.
        encoders: returns all encoders, or raises ClosedError.
        first: places of those that encode every file.
        later: places of those for which files are only preprocessed.
        config: names the limits and the batch size.
        options: say what these images may be answered with.
    """
    lazy = [LazyEncoder(partial(_at, encoders, place)) for place in range(len(encoders()))]
    encoding = Encoding(
        [lazy[place] for place in first], config.images, config.batch_size, later=[lazy[place] for place in later]
    )
    for batch in encode_files(files, encoding):
        opened = encoders()
        min_side = max(encoder.image_size for encoder in opened) if config.images.fast_jpeg else None
        again = partial(read_again, limits=config.images.limits, min_side=min_side)
        yield batch, EncodedImages.of_files(batch, opened, first, later, again, options)


def _at(encoders: Callable[[], Sequence[Encoder]], place: int) -> Encoder:
    return encoders()[place]
