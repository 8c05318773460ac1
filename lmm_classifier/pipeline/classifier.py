"""The classifier: opens an index and what belongs to it, and follows the index when it changes."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Classification, Decision
from lmm_classifier.core.errors import ClosedError, ImageError, UnreadableImageError
from lmm_classifier.core.paths import absolute
from lmm_classifier.core.protocols import DecisionPolicy, Encoder, Preprocessed, Reranker
from lmm_classifier.data.image_inputs import ImageInput, check_input, check_inputs, check_paths, path_of, read_input
from lmm_classifier.data.images import DecodedImage, read_image
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.encoded_batch import EncodedBatch
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.embeddings.opening import Given, backends_of, close_encoders, open_encoders
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.opening import open_index
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.index.watcher import IndexWatcher
from lmm_classifier.pipeline.current_flow import CurrentFlow
from lmm_classifier.pipeline.flow import Query
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.rerank.benefit import RerankerBenefit


class HybridClassifier:
    """Classifies images by the examples of an index.

    A durable index is followed: examples that another thread or program adds, removes or relabels count from the next
    image on. A classifier is a context manager: `with` closes it at the end. It can be pickled and copied; the copy
    opens the index and the model again.

    Args:
        config: names the index, the encoder and the reranker. It is copied: later changes have no effect.
        encoder: an encoder that is already loaded, to share it, or several; by default the configured ones are loaded.

    Raises:
        IndexFileError: if there is no sound index at `retrieval.index_path`.
        IndexMismatchError: if the index was built by another encoder.
        MissingExtraError: if a library is not installed; the message holds the pip command.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, PipelineConfig
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     result = classifier.classify(sorted(Path("new").glob("*.png"))[0])
        >>> isinstance(result.label, str), 0 <= result.score <= 1, result.used_reranker in (True, False)
        (True, True, True)
    """

    _closed = False

    def __init__(self, config: PipelineConfig, encoder: Encoder | Sequence[Encoder] | None = None) -> None:
        self.config = config.model_copy(deep=True)
        self._given = encoder
        watcher = IndexWatcher(absolute(config.retrieval.index_path))
        indexes = open_index(config.retrieval, backends_of(config.encoders, encoder))
        self._encoders = open_encoders(config.encoders, encoder)
        self.config.start_paths_at(Path.cwd())  # the program may go to another folder, and so may a copy
        self.config.retrieval.index_path = absolute(config.retrieval.index_path)
        self._current_flow = CurrentFlow(self.config, self._encoders, indexes, watcher)

    def classify(self, image: ImageInput) -> Classification:
        """Classify one image: a path, the bytes of a file, a NumPy array or a Pillow image of any mode.

        It is turned upright and to RGB as files are. An array is (height, width) for gray, (height, width, 3) for RGB,
        or (height, width, 4) with alpha: uint8 from 0 to 255, uint16 from 0 to 65535, or floating-point from 0 to 1.

        Raises:
            ImageInputError: the argument is of another type or shape.
            ImageError: the image cannot be read or decoded, has no pixels or too many, or values out of range.
            EncoderError: the encoder has no vector for the image.
        """
        self._check_open()
        check_input(image)
        decoded = self._read_input(image)
        vectors = QueryVectors.of_images(self._encoders, [decoded.image], self.retriever.first_encoders)
        (result,) = self._current_flow().classify(vectors, [_query(decoded)])
        return replace(result, path=path_of(image))

    def classify_many(self, images: Sequence[ImageInput]) -> list[Classification]:
        """Classify images of the kinds that `classify` takes, and return one result each, in order.

        An image that cannot be read or decoded, or that the encoder refuses, gives a result with reason `unreadable`
        and its `error`. For many files `classify_paths` is faster.

        Raises:
            ImageInputError: an argument is of another type or shape; nothing is classified then.
        """
        self._check_open()
        several = check_inputs(images)
        step, results = self.config.batch_size, list[Classification]()
        for start in range(0, len(several), step):
            batch: list[tuple[ImageInput, DecodedImage | ImageError]] = []
            for image in several[start : start + step]:
                try:
                    batch.append((image, self._read_input(image)))
                except ImageError as error:
                    batch.append((image, error))
            results += self._classify_batch(batch)
        return results

    def _read_input(self, image: ImageInput) -> DecodedImage:
        return read_input(image, self.config.images.limits, self._min_side)

    @property
    def _min_side(self) -> int | None:
        """Return the side in pixels that the encoders need of a file; None: all pixels."""
        return max(encoder.image_size for encoder in self._encoders) if self.config.images.fast_jpeg else None

    def _classify_batch(self, batch: Sequence[tuple[ImageInput, DecodedImage | ImageError]]) -> list[Classification]:
        """Return one result for each image, which is decoded or could not be."""
        decoded = [place for place, (_, result) in enumerate(batch) if isinstance(result, DecodedImage)]
        images = [result for _, result in batch if isinstance(result, DecodedImage)]
        vectors, refused = QueryVectors.of_accepted(
            self._encoders, [image.image for image in images], self.retriever.first_encoders
        )
        accepted = [image for row, image in enumerate(images) if row not in refused]
        classified = iter(self._current_flow().classify(vectors, list(map(_query, accepted))))
        errors = {decoded[row]: error for row, error in refused.items()}
        results = list[Classification]()
        for place, (image, result) in enumerate(batch):
            error = result if isinstance(result, ImageError) else errors.get(place)
            if error is None:
                results.append(replace(next(classified), path=path_of(image)))
            else:
                results.append(self._unreadable(path_of(image), str(error), result.content_hash))
        return results

    def classify_paths(
        self, paths: Iterable[Path | str], leave_out_identical: bool = False
    ) -> Iterator[Classification]:
        """Classify files and yield one result per path, in order; memory does not grow with their number.

        A file that cannot be read as an image yields a result with reason `unreadable` and its `error`. Files are read
        and encoded in background threads while results are taken.

        Args:
            paths: image files.
            leave_out_identical: ignore examples with the same content as the query (leave-one-out). On few examples
                such results are better than those of new images: the metric was fitted with the query.

        Raises:
            ImageInputError: it is not several paths. A wrong element raises when its turn comes.
        """
        self._check_open()
        return self._classify_paths(check_paths(paths), leave_out_identical)

    def _classify_paths(self, files: Iterable[Path], leave_out_identical: bool) -> Iterator[Classification]:
        retriever = self.retriever
        first, later = retriever.first_encoders, retriever.later_encoders
        del retriever  # the index may have another one soon
        encoding = Encoding(
            [LazyEncoder(partial(self._encoder_at, place)) for place in first],
            self.config.images,
            self.config.batch_size,
            later=[LazyEncoder(partial(self._encoder_at, place)) for place in later],
        )
        for batch in encode_files(files, encoding):
            queries = [
                Query(partial(self._read_again, file.path, file.content_hash), file.content_hash)
                for file in batch.encoded
            ]
            vectors = QueryVectors(
                len(queries),
                dict(zip(first, batch.vectors)),
                self._encoders,
                partial(self._input_of, dict(enumerate(later)), batch, queries),
            )
            classified = self._current_flow().classify(vectors, queries, leave_out_identical)
            results = {
                file.position: replace(result, path=str(file.path)) for file, result in zip(batch.encoded, classified)
            }
            results |= {
                file.position: self._unreadable(str(file.path), file.reason, file.content_hash) for file in batch.failed
            }
            for position in sorted(results):
                yield results[position]

    def close(self) -> None:
        """Give back the index, the model and the connections to a server; closing it twice is no error.

        An encoder that was given to the constructor stays open. Close a classifier when no thread uses it: after that,
        every use raises ClosedError.
        """
        if self._closed or not self._current_flow.close():
            return
        self._closed = True
        if self._given is None:
            close_encoders(self._encoders)
        del self._encoders, self._given
        gc.collect()  # models refer to themselves, so their memory would stay in use for a while

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[HybridClassifier], tuple[PipelineConfig, Given]]:
        """Pickle as the configuration: a copy, also in another process, opens the index and the model again."""
        self._check_open()
        return type(self), (self.config, self._given)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("This classifier is closed. Open another one with HybridClassifier(config).")

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """Return the encoders in use, in the order of the configuration."""
        self._check_open()
        return self._encoders

    def _encoder_at(self, place: int) -> Encoder:
        return self.encoders[place]

    def _input_of(
        self, prepared: dict[int, int], batch: EncodedBatch, queries: Sequence[Query], row: int, encoder: Encoder
    ) -> Preprocessed:
        """Return the input of an encoder that was prepared for a file, or prepare it now."""
        place = self._encoders.index(encoder)
        for number, later in prepared.items():
            if later == place and (given := batch.inputs[row][number]) is not None:
                return given
        # the index was calibrated anew meanwhile, or the encoder says again why it refuses the image
        return encoder.preprocess(queries[row].load_image())

    def editor(self) -> IndexEditor:
        """Return an editor of the index in use, with the encoders in use; its edits count from the next image on."""
        return IndexEditor(self.config.retrieval.index_path, self.config, self.encoders)

    @property
    def index(self) -> ExactIndex:
        """Return the examples that are searched, with the vectors of the first encoder."""
        return self._current_flow().index

    @property
    def retriever(self) -> Retriever:
        """Return the index with its fitted rule."""
        return self._current_flow().retriever

    @property
    def thresholds(self) -> Thresholds:
        """Return the thresholds in use, each with its source."""
        return self._current_flow().thresholds

    @property
    def policy(self) -> DecisionPolicy:
        """Return the policy that turns scores into decisions."""
        return self._current_flow().policy

    @property
    def reranker(self) -> Reranker | None:
        """Return the reranker that is asked where labels compete, None where it is switched off."""
        return self._current_flow().reranker

    @property
    def reranker_benefit(self) -> RerankerBenefit | None:
        """Return what was measured of this reranker, None where it was not."""
        return self._current_flow().reranker_benefit

    def _read_again(self, path: Path, content_hash: str) -> Image.Image:
        """Return the pixels that the encoder saw; raise ImageError if the file changed meanwhile."""
        decoded = read_image(path, self.config.images.limits, self._min_side)
        if decoded.content_hash != content_hash:
            raise UnreadableImageError(f"{path}: the file changed after it was encoded")
        return decoded.image

    def _unreadable(self, path: str | None, reason: str, content_hash: str | None) -> Classification:
        return Classification(
            label=self.config.unknown_label,
            score=0.0,
            used_reranker=False,
            decision=Decision("reject", "unreadable"),
            candidates=(),
            path=path,
            content_hash=content_hash,
            error=reason,
        )


def _query(decoded: DecodedImage) -> Query:
    return Query(partial(_same, decoded.image), decoded.content_hash)


def _same(image: Image.Image) -> Image.Image:
    return image
