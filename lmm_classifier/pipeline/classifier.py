"""The classifier: opens an index and what belongs to it, and follows the index when it changes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Classification, Decision
from lmm_classifier.core.errors import IndexFileError, UnreadableImageError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.protocols import DecisionPolicy, Encoder, Reranker
from lmm_classifier.data.images import read_image, upright_rgb
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.registry import compatible_backends, open_encoder
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.opening import open_index, require_encoder
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.index.watcher import IndexWatcher
from lmm_classifier.pipeline.flow import Flow, Query
from lmm_classifier.pipeline.retriever import Retriever
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.rerank.benefit import RerankerBenefit

logger = logging.getLogger(__name__)


class HybridClassifier:
    """Classifies images by the examples of an index.

    A durable index is followed: examples that another thread or program adds, removes or relabels count from the next
    image on.

    Args:
        config: names the index, the encoder and the reranker. It is copied: later changes have no effect.
        encoder: an encoder that is already loaded, to share it; by default the configured one is loaded.

    Raises:
        IndexFileError: if there is no sound index at `retrieval.index_path`.
        IndexMismatchError: if the index was built by another encoder.
        MissingExtraError: if a library is not installed; the message holds the pip command.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from lmm_classifier import HybridClassifier, PipelineConfig
        >>> classifier = HybridClassifier(PipelineConfig.offline())
        >>> result = classifier.classify(Image.open(sorted(Path("new").glob("*.png"))[0]))
        >>> isinstance(result.label, str), 0 <= result.score <= 1, result.used_reranker in (True, False)
        (True, True, True)
    """

    def __init__(self, config: PipelineConfig, encoder: Encoder | None = None) -> None:
        self.config = config.model_copy(deep=True)
        backends = (encoder.fingerprint.backend,) if encoder else compatible_backends(config.encoder.backend)
        self._watcher = IndexWatcher(config.retrieval.index_path)
        index = open_index(config.retrieval, backends)
        self.encoder = encoder or open_encoder(config.encoder)
        require_encoder(index, self.encoder.fingerprint, str(config.retrieval.index_path))
        self._flow = Flow.open(self.config, self.encoder, index)
        self._lock = ForkSafeLock()

    def classify(self, image: Image.Image) -> Classification:
        """Classify one image of any Pillow mode; it is turned upright and to RGB as files are."""
        return self.classify_many([image])[0]

    def classify_many(self, images: Sequence[Image.Image]) -> list[Classification]:
        """Classify images and return one result each, in order."""
        step, results = self.config.encoder.batch_size, list[Classification]()
        for start in range(0, len(images), step):
            upright = [upright_rgb(image) for image in images[start : start + step]]
            vectors = encode_images(self.encoder, upright)  # (n, dim)
            results += self._current_flow().classify(vectors, [Query(partial(_same, image)) for image in upright])
        return results

    def classify_paths(
        self, paths: Iterable[Path | str], leave_out_identical: bool = False
    ) -> Iterator[Classification]:
        """Classify files and yield one result per path, in order; memory does not grow with their number.

        A file that cannot be read as an image yields a result with reason `unreadable` and its `error`. Files are read
        and encoded in background threads while results are taken.

        Args:
            paths: image files.
            leave_out_identical: ignore examples with the same content as the query (leave-one-out).
        """
        encoder = LazyEncoder(lambda: self.encoder)
        files = map(Path, paths)
        for batch in encode_files(files, encoder, self.config.images, self.config.encoder.batch_size):
            queries = [
                Query(partial(self._read_again, file.path, file.content_hash), file.content_hash)
                for file in batch.encoded
            ]
            classified = self._current_flow().classify(batch.vectors, queries, leave_out_identical)
            results = {
                file.position: replace(result, path=str(file.path)) for file, result in zip(batch.encoded, classified)
            }
            results |= {file.position: self._unreadable(file.path, file.reason) for file in batch.failed}
            for position in sorted(results):
                yield results[position]

    def editor(self) -> IndexEditor:
        """Return an editor of the index in use, with the encoder in use; its edits count from the next image on."""
        return IndexEditor(self.config.retrieval.index_path, self.config, self.encoder)

    @property
    def index(self) -> ExactIndex:
        """Return the examples that are searched."""
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

    def _current_flow(self) -> Flow:
        """Return the flow of the newest version of the index; the first caller after a change opens it."""
        with self._lock:
            if self._watcher.changed():
                self._follow()
        return self._flow

    def _follow(self) -> None:
        """Open the index again if its version changed; one that cannot be opened leaves the former in use."""
        path = self.config.retrieval.index_path
        try:
            index = open_index(self.config.retrieval, (self.encoder.fingerprint.backend,))
            if index.contents.version == self._flow.index.contents.version:
                return
            require_encoder(index, self.encoder.fingerprint, str(path))
            self._flow = Flow.open(self.config, self.encoder, index, self._flow)
            logger.info("The index changed: version %d, %d examples.", index.contents.version, len(index))
        except IndexFileError as error:
            logger.error("The index changed and cannot be opened. The former version stays in use. %s", error)

    def _read_again(self, path: Path, content_hash: str) -> Image.Image:
        """Return the pixels that the encoder saw; raise ImageError if the file changed meanwhile."""
        images = self.config.images
        decoded = read_image(path, images.limits, self.encoder.image_size if images.fast_jpeg else None)
        if decoded.content_hash != content_hash:
            raise UnreadableImageError(f"{path}: the file changed after it was encoded")
        return decoded.image

    def _unreadable(self, path: Path, reason: str) -> Classification:
        return Classification(
            label=self.config.unknown_label,
            score=0.0,
            used_reranker=False,
            decision=Decision("reject", "unreadable"),
            candidates=(),
            path=str(path),
            error=reason,
        )


def _same(image: Image.Image) -> Image.Image:
    return image
