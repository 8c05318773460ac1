"""The classifier: opens an index and what belongs to it, and follows it when it changes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock

from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Classification, Decision
from lmm_classifier.core.errors import IndexFileError, UnreadableImageError
from lmm_classifier.core.protocols import Encoder, Reranker
from lmm_classifier.data.images import read_picture, upright_rgb
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files
from lmm_classifier.embeddings.registry import backends_of, open_encoder
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.opening import open_index, require_encoder
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.index.watcher import Watch
from lmm_classifier.pipeline.flow import Encoded, Flow
from lmm_classifier.pipeline.policy import ThresholdPolicy
from lmm_classifier.pipeline.retriever import Retriever
from lmm_classifier.rerank.benefit import SecondLook

logger = logging.getLogger(__name__)


class HybridClassifier:
    """Classifies pictures by the examples of an index.

    Opens what the configuration names; an encoder that is already loaded can be passed in, to share it. A durable
    index is followed: what another thread or program adds to it, removes or relabels counts from the next picture on.
    """

    def __init__(self, config: PipelineConfig, encoder: Encoder | None = None) -> None:
        self.config = config.model_copy(deep=True)  # changes made later to the caller's do not reach a running one
        backends = (encoder.fingerprint.backend,) if encoder else backends_of(config.encoder.backend)
        self._watch = Watch(config.retrieval.index_path)
        index = open_index(config.retrieval, backends)
        self.encoder = encoder or open_encoder(config.encoder)
        require_encoder(index, self.encoder.fingerprint, str(config.retrieval.index_path))
        self._flow = Flow(self.config, self.encoder, index)
        self._lock = Lock()

    @property
    def flow(self) -> Flow:
        """Everything that depends on the examples, of the newest version of the index."""
        with self._lock:  # whoever asks while another opens the new version waits for it
            if self._watch.changed():
                self._follow()
        return self._flow

    def _follow(self) -> None:
        """Open the index again if its version is another; one that cannot be opened leaves what there is."""
        path = self.config.retrieval.index_path
        try:
            index = open_index(self.config.retrieval, (self.encoder.fingerprint.backend,))
            if index.contents.version == self._flow.version:
                return
            require_encoder(index, self.encoder.fingerprint, str(path))
            self._flow = Flow(self.config, self.encoder, index, self._flow)
            logger.info("the index changed: version %d, %d examples", index.contents.version, len(index))
        except IndexFileError as error:
            logger.error("the index changed and cannot be opened, so the former version is used: %s", error)

    @property
    def index(self) -> ExactIndex:
        """The examples that are searched."""
        return self.flow.index

    @property
    def retriever(self) -> Retriever:
        """The index with its voting rule."""
        return self.flow.retriever

    @property
    def policy(self) -> ThresholdPolicy:
        """What turns a vote into a decision."""
        return self.flow.policy

    @property
    def reranker(self) -> Reranker | None:
        """What is asked where labels compete."""
        return self.flow.reranker

    @property
    def second_look(self) -> SecondLook | None:
        """What was measured of the reranker."""
        return self.flow.second_look

    def editor(self) -> IndexEditor:
        """An editor of the index in use, with the encoder in use: what it changes counts from the next picture on."""
        return IndexEditor(self.config.retrieval.index_path, self.config, self.encoder)

    def classify(self, image: Image.Image) -> Classification:
        """Classify one picture, of any Pillow mode; it is turned upright and to RGB by the rules for files."""
        return self.classify_many([image])[0]

    def classify_many(self, images: Sequence[Image.Image]) -> list[Classification]:
        """Classify pictures; one verdict each, in order, whatever the number."""
        step, verdicts = self.config.encoder.batch_size, list[Classification]()
        for start in range(0, len(images), step):
            upright = [upright_rgb(image) for image in images[start : start + step]]
            vectors = self.encoder.encode_images(upright)  # (n, dim)
            verdicts += self.flow.classify(vectors, [Encoded(partial(_given, image)) for image in upright])
        return verdicts

    def classify_paths(
        self, paths: Iterable[Path | str], leave_out_identical: bool = False
    ) -> Iterator[Classification]:
        """Classify files, yielding one verdict per path in order; memory does not grow with their number.

        A file that is no picture yields a verdict with reason `unreadable` and its `error`. With
        `leave_out_identical`, examples of the same content as the query are not looked at (leave-one-out). Files are
        read and encoded ahead, in threads, while verdicts are made and taken.
        """
        asked: dict[int, Path] = {}  # paths given to the readers and not yet answered for, by their places

        def remember() -> Iterator[Path]:
            for place, path in enumerate(map(Path, paths)):
                asked[place] = path
                yield path

        encoder = LazyEncoder(lambda: self.encoder)
        for batch in encode_files(remember(), encoder, self.config.images, self.config.encoder.batch_size):
            pictures = [Encoded(partial(self._read_again, asked[place], content), content)
                        for place, content in batch.encoded]  # fmt: skip
            found = self.flow.classify(batch.vectors, pictures, leave_out_identical)
            verdicts = {place: verdict for (place, _), verdict in zip(batch.encoded, found)}
            verdicts |= {one.place: self._unreadable(one.reason) for one in batch.refused}
            for place in sorted(verdicts):
                yield replace(verdicts[place], path=str(asked.pop(place)))

    def _read_again(self, path: Path, content_hash: str) -> Image.Image:
        """The pixels that the encoder saw; raises ImageError if the file is another one now."""
        images = self.config.images
        picture = read_picture(path, images.limits, self.encoder.image_size if images.fast_jpeg else None)
        if picture.content_hash != content_hash:
            raise UnreadableImageError(f"{path}: the file was changed since it was encoded")
        return picture.image

    def _unreadable(self, reason: str) -> Classification:
        return Classification(
            label=self.config.unknown_label,
            score=0.0,
            used_reranker=False,
            decision=Decision("reject", "unreadable"),
            candidates=(),
            error=reason,
        )


def _given(image: Image.Image) -> Image.Image:
    return image
