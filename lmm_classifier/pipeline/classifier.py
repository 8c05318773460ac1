"""The classifier: opens an index and what belongs to it, and follows the index when it changes."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import ClosedError, ImageError
from lmm_classifier.core.paths import absolute
from lmm_classifier.core.protocols import DecisionPolicy, Encoder, Reranker
from lmm_classifier.data.image_inputs import ImageInput, check_input, check_inputs, check_paths, path_of
from lmm_classifier.embeddings.opening import Given, backends_of, close_encoders, open_encoders
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.opening import open_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.index.watcher import IndexWatcher
from lmm_classifier.pipeline.flow import Query
from lmm_classifier.pipeline.following.current_flow import CurrentFlow
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions
from lmm_classifier.pipeline.stages.encoded_files import encoded_files
from lmm_classifier.pipeline.stages.encoded_images import EncodedImages
from lmm_classifier.pipeline.stages.prepared_image import Preparation, PreparedImage
from lmm_classifier.pipeline.stages.reranking import Vote, rerank_votes
from lmm_classifier.pipeline.stages.unreadable import unreadable
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.rerank.benefit import RerankerBenefit


class HybridClassifier:
    """Classifies images by the examples of an index.

    A durable index is followed: examples that another thread or program adds, removes or relabels count from the next
    image on, or soon (see `follow_in_background`). A classifier is a context manager: `with` closes it at the end. It
    can be pickled and copied; the copy opens the index and the model again.

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

    def classify(self, image: ImageInput, options: AnswerOptions = ANY) -> Classification:
        """Classify one image: a path, the bytes of a file, a NumPy array or a Pillow image of any mode.

        It is turned upright and to RGB as files are. An array is (height, width) for gray, (height, width, 3) for RGB,
        or (height, width, 4) with alpha: uint8 from 0 to 255, uint16 from 0 to 65535, or floating-point from 0 to 1.
        `options` say what this image may be answered with.

        Raises:
            ImageInputError: the argument is of another type or shape.
            ImageError: the image cannot be read or decoded, has no pixels or too many, or values out of range.
            EncoderError: the encoder has no vector for the image.
            NoSuchLabelError: the options name a label that is not in the index.
        """
        encoded = self.encode([self._prepared(image, options, keep_pixels=True)])
        for error in encoded.refused.values():
            raise error
        return self.vote(encoded)[0]

    def classify_many(self, images: Sequence[ImageInput], options: AnswerOptions = ANY) -> list[Classification]:
        """Classify images of the kinds that `classify` takes, and return one result each, in order.

        An image that cannot be read or decoded, or that the encoder refuses, gives a result with reason `unreadable`
        and its `error`. For many files `classify_paths` is faster.

        Raises:
            ImageInputError: an argument is of another type or shape; nothing is classified then.
        """
        self._check_open()
        several = check_inputs(images)
        results = dict[int, Classification]()
        for start in range(0, len(several), step := self.config.batch_size):
            batch = dict[int, PreparedImage]()
            for place, image in enumerate(several[start : start + step], start):
                try:
                    batch[place] = self._prepared(image, options, keep_pixels=True)
                except ImageError as error:
                    results[place] = self._unreadable(path_of(image), error, error.content_hash)
            results |= zip(batch, self.vote(self.encode(list(batch.values()))))
        return [results[place] for place in range(len(several))]

    def prepare(self, image: ImageInput, options: AnswerOptions = ANY) -> PreparedImage:
        """Decode an image and reduce it to the inputs of the encoders; then `encode` and `vote` classify it.

        These three are the stages of `classify`. A program can run them in threads of its own: any number of threads
        may call each of them at once. `ClassifierQueue` does all that. It raises what `classify` raises.

        Example:
            >>> from pathlib import Path
            >>> from lmm_classifier import HybridClassifier, PipelineConfig
            >>> paths = sorted(Path("new").glob("*.png"))[:2]
            >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
            ...     prepared = [classifier.prepare(path) for path in paths]
            ...     results = classifier.vote(classifier.encode(prepared))
            ...     results == [classifier.classify(path) for path in paths]
            True
        """
        return self._prepared(image, options, keep_pixels=False)

    def _prepared(self, image: ImageInput, options: AnswerOptions, keep_pixels: bool) -> PreparedImage:
        encoders, retriever, images = self.encoders, self.retriever, self.config.images
        check_input(image)
        retriever.index.require_labels(options.labels)
        min_side = max(encoder.image_size for encoder in encoders) if images.fast_jpeg else None
        return Preparation(encoders, images.limits, min_side, *retriever.encoder_places, keep_pixels)(image, options)

    def encode(self, prepared: Sequence[PreparedImage]) -> EncodedImages:
        """Encode prepared images together; those that an encoder refuses are named in `refused`, with the error.

        Raises EncoderError where an encoder refuses every image of several: then it is broken.
        """
        return EncodedImages.of(prepared, self.encoders, self.retriever.first_encoders)

    def vote(self, encoded: EncodedImages) -> list[Classification]:
        """Classify encoded images by the examples, and ask the reranker where labels compete.

        The results are those of `classify_many`, in the order of the images; a refused one is `unreadable`.
        """
        return rerank_votes(self.retrieve(encoded))

    def retrieve(self, encoded: EncodedImages, leave_out_identical: bool = False) -> list[Vote]:
        """Do the same as `vote`, but leave the reranker to a later call of `rerank_votes`.

        With `leave_out_identical`, examples with the content of an image do not count for it (leave-one-out).
        """
        queries = [Query(image.load_image, image.content_hash, image.options) for image in encoded.accepted]
        votes = iter(self._current_flow().vote(encoded.vectors, queries, leave_out_identical))
        results = list[Vote]()
        for place, image in enumerate(encoded.images):
            if (error := encoded.refused.get(place)) is not None:
                results.append(Vote(self._unreadable(image.path, error, image.content_hash)))
            else:
                vote = next(votes)
                results.append(replace(vote, result=replace(vote.result, path=image.path)))
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
        first, later = self.retriever.encoder_places
        for batch, encoded in encoded_files(files, lambda: self.encoders, first, later, self.config):
            classified = rerank_votes(self.retrieve(encoded, leave_out_identical))
            results = dict(zip((file.position for file in batch.encoded), classified))
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
        backends = {self.config.rerank.backend, *(encoder.backend for encoder in self.config.encoders)}
        if backends - {"descriptor", "views"}:
            gc.collect()  # models refer to themselves, so their memory would stay in use for a while

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[HybridClassifier], tuple[PipelineConfig, Given], bool]:
        """Pickle as the configuration: a copy, also in another process, opens the index and the model again."""
        self._check_open()
        return type(self), (self.config, self._given), self._current_flow.in_background

    def __setstate__(self, in_background: bool) -> None:
        if in_background:
            self.follow_in_background()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("This classifier is closed. Open another one with HybridClassifier(config).")

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        """Return the encoders in use, in the order of the configuration."""
        self._check_open()
        return self._encoders

    def follow_in_background(self) -> None:
        """Let a thread follow the index from now on, so that no call waits until a new version is open.

        Until then answers come from the former version. A rule that was fitted because the index is not calibrated is
        kept while few examples change. So answers may differ slightly from those of a classifier that is opened anew;
        `retriever.is_carried` says whether they can. Calibrate the index to have the same answers everywhere.
        """
        self._check_open()
        self._current_flow.follow_in_background()

    def wait_for_index(self, timeout: float = 60.0) -> bool:
        """Wait at most `timeout` seconds until all edits made before count; return whether they do."""
        self._check_open()
        return self._current_flow.wait(timeout)

    @property
    def index_version(self) -> int:
        """Return the version of the index that answers."""
        return self.index.contents.version

    @property
    def index_lag(self) -> float:
        """Return the seconds since the oldest edit that does not count yet; 0 where all count."""
        self._check_open()
        return self._current_flow.lag

    def editor(self) -> IndexEditor:
        """Return an editor of the index in use, with the encoders in use; its edits count from the next image on."""
        return IndexEditor(self.config.retrieval.index_path, self.config, self.encoders)

    @property
    def index(self) -> Index:
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

    def _unreadable(self, path: str | None, reason: object, content_hash: str | None) -> Classification:
        return unreadable(self.config.unknown_label, path, reason, content_hash)
