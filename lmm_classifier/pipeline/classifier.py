"""The classifier: opens an index and what belongs to it, and follows the index when it changes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from typing import Any

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import ImageError
from lmm_classifier.core.progress import ProgressOption
from lmm_classifier.core.vectors import vectors_of_each
from lmm_classifier.data.image_inputs import ImageInput, check_input, check_inputs, check_paths, path_of
from lmm_classifier.data.places import Place
from lmm_classifier.html.shown_results import ShownResults
from lmm_classifier.pipeline.adapting.adaptable_index import AdaptableIndex
from lmm_classifier.pipeline.flow import Query, no_pixels
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions
from lmm_classifier.pipeline.stages.counted_results import counted
from lmm_classifier.pipeline.stages.encoded_files import encoded_files
from lmm_classifier.pipeline.stages.encoded_images import EncodedImages
from lmm_classifier.pipeline.stages.prepared_image import Preparation, PreparedImage
from lmm_classifier.pipeline.stages.reranking import Vote, rerank_votes
from lmm_classifier.pipeline.stages.unreadable import unreadable


class HybridClassifier(AdaptableIndex):
    """Classifies images by the examples of an index.

    A durable index is followed: examples that another thread or program adds, removes or relabels count from the next
    image on, or soon (see `follow_in_background`). A classifier is a context manager: `with` closes it at the end. It
    can be pickled and copied; the copy opens the index and the model again.

    Args:
        config: names the index, the encoder and the reranker. It is copied: later changes have no effect.
        encoder: an encoder that is already loaded, to share it, or several; by default the configured ones are loaded.
        index: an index in memory, such as `Index.from_vectors` makes; by default that at `retrieval.index_path`.

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
        self,
        paths: Iterable[Place | str],
        leave_out_identical: bool = False,
        options: AnswerOptions = ANY,
        progress: ProgressOption | None = None,
    ) -> Iterator[Classification]:
        """Classify files and yield one result per path, in order; memory does not grow with their number.

        A file that cannot be read as an image yields a result with reason `unreadable` and its `error`. Files are read
        and encoded in background threads while results are taken.

        Args:
            paths: image files, or other places of a dataset.
            leave_out_identical: ignore examples with the same content as the query (leave-one-out). On few examples
                such results are better than those of new images: the metric was fitted with the query.
            options: say what these images may be answered with.
            progress: True shows it; a function is called after each result that is taken.

        Raises ImageInputError where it is not several paths; a wrong element raises when its turn comes. Raises
        NoSuchLabelError where the options name a label that is not in the index.
        """
        self._check_open()
        if options.labels is not None:
            self.retriever.index.require_labels(options.labels)
        results = self._classify_paths(check_paths(paths), leave_out_identical, options)
        if progress is None or progress is False:
            return results
        return counted(results, len(paths) if isinstance(paths, Sized) else None, progress)

    def _classify_paths(
        self, files: Iterable[Place], leave_out_identical: bool, options: AnswerOptions
    ) -> Generator[Classification, None, None]:
        first, later = self.retriever.encoder_places
        for batch, encoded in encoded_files(files, lambda: self.encoders, first, later, self.config, options):
            classified = rerank_votes(self.retrieve(encoded, leave_out_identical))
            results = dict(zip((file.position for file in batch.encoded), classified))
            results |= {
                file.position: self._unreadable(str(file.path), file.reason, file.content_hash) for file in batch.failed
            }
            for position in sorted(results):
                yield results[position]

    def classify_vectors(self, vectors: Any, options: AnswerOptions = ANY) -> list[Classification]:
        """Classify images by their vectors alone, and return one result each, in order.

        The results are those of `classify` for images with these vectors, without a path and a content hash. The
        reranker is never asked, because there is no image. With `encoder.backend: vectors` no encoder is opened.

        Args:
            vectors: (n, dim) of the encoder of the index; they are normalized where they are not. Of several encoders a
                list or tuple with the array of each, in the order of `encoders`.
            options: say what these images may be answered with.

        Raises:
            VectorError: the vectors are no such rows of finite numbers, or a row is zero.
            NoSuchLabelError: the options name a label that is not in the index.

        Example:
            >>> from lmm_classifier import HybridClassifier, Index, PipelineConfig
            >>> vectors = Index.open("index").vectors()
            >>> with HybridClassifier(PipelineConfig.preset("vectors")) as classifier:
            ...     results = classifier.classify_vectors(vectors[:2])
            >>> len(results), results[0].path is None, results[0].used_reranker
            (2, True, False)
        """
        self._check_open()
        flow = self._current_flow()
        flow.index.require_labels(options.labels)
        dims = [encoder.index.fingerprint.dim for encoder in flow.retriever.encoders]
        given = QueryVectors.given(*vectors_of_each(vectors, dims))
        votes = flow.vote(given, [Query(no_pixels, options=options)] * len(given))
        return [vote.unasked() for vote in votes]

    def show(self, results: Classification | Iterable[Classification], max_cards: int = 24) -> ShownResults:
        """Return results for a notebook, which shows each with its image, its label, why, and the nearest examples.

        A result whose image is gone, was changed, or was given as an array or as bytes says so instead. The images are
        read now, and kept small inside the HTML.

        Args:
            results: one result or several, such as `classify` and `classify_paths` give.
            max_cards: results that get a card, at least 1; the others are counted.

        Raises:
            ConfigError: the argument is no result, or `max_cards` is less than 1.

        Example:
            >>> from pathlib import Path
            >>> from lmm_classifier import HybridClassifier, PipelineConfig
            >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
            ...     shown = classifier.show(classifier.classify_paths(sorted(Path("new").glob("*.png"))[:2]))
            >>> len(shown.results), shown.html.count("</article>")
            (2, 2)
        """
        self._check_open()
        return ShownResults.of(results, self.index.contents.file_of, self.config.images.limits, max_cards)

    def _unreadable(self, path: str | None, reason: object, content_hash: str | None) -> Classification:
        return unreadable(self.config.unknown_label, path, reason, content_hash)
