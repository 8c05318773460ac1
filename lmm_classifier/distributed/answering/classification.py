"""Classify many images by the workers of an engine; each answers some of them as `HybridClassifier` does.

Workers write the results of a chunk of images to a file, whole or not at all. So a run that was interrupted resumes
where it was, and an image that ends its worker is found and reported.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.core.index_location import index_location
from lmm_classifier.core.protocols import Engine
from lmm_classifier.data.places import Place
from lmm_classifier.distributed.answering.answer_chunks import AnswerChunk, AnswerFolder, answer_chunks
from lmm_classifier.distributed.answering.answer_worker import AnswerWorkerBuilder
from lmm_classifier.distributed.answering.join import joined
from lmm_classifier.distributed.answering.join_worker import JoinWorkerBuilder
from lmm_classifier.index.opening import uses_store
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions

MOST_IMAGES = 1024  # of a chunk


@dataclass(frozen=True)
class EngineClassifier:
    """Classifies files by the workers of an engine.

    Args:
        config: of the classifier. The paths in it must lead to the same on each machine.
        engine: runs the workers.
        leave_out_identical: ignore examples with the same content as the query.
        options: say what the images may be answered with.
        threads: of each worker; 0: one per processor.
        chunk_images: images that a worker answers together at most, at least 1.
        work: a folder or a URL that all workers reach, for their results; None: a temporary folder of this machine.
        identity: of what answers, such as `run_identity`. A run with the same `work` and identity then resumes
            one that was interrupted. None: it begins anew.

    Raises:
        ConfigError: a chunk should have less than one image.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, PipelineConfig
        >>> from lmm_classifier.distributed.answering.classification import EngineClassifier
        >>> from lmm_classifier.distributed.engines.local import InProcess
        >>> paths = sorted(Path("new").glob("*.png"))[:3]
        >>> config = PipelineConfig.offline()
        >>> results = list(EngineClassifier(config, InProcess(), chunk_images=2).classify_paths(paths))
        >>> results == list(HybridClassifier(config).classify_paths(paths))
        True
    """

    config: PipelineConfig
    engine: Engine
    leave_out_identical: bool = False
    options: AnswerOptions = ANY
    threads: int = 0
    chunk_images: int = MOST_IMAGES
    work: str | None = None
    identity: str | None = None

    def __post_init__(self) -> None:
        if self.chunk_images < 1:
            raise ConfigError(f"A chunk of {self.chunk_images} images was asked for. It must have at least 1.")

    def classify_paths(self, places: Sequence[Place]) -> Iterator[Classification]:
        """Yield the results of `HybridClassifier.classify_paths`, in the order of the places.

        An image that ends its worker each time has a result with reason `unreadable`.

        Raises:
            EngineError: the workers cannot be started, or end again and again.
            OutputError: the results cannot be written.
        """
        chunks = list(answer_chunks(places, self.chunk_images, self._identity()))
        with self._folder() as folder:
            yield from self._results(chunks, folder)
            folder.end([chunk.name for chunk in chunks])

    def _results(self, chunks: Sequence[AnswerChunk], folder: AnswerFolder) -> Iterator[Classification]:
        todo = [chunk for chunk in chunks if not folder.has_answers(chunk.name)]
        ready, wanted = {chunk.name for chunk in chunks} - {chunk.name for chunk in todo}, 0
        with closing(_generator(self._answered(todo, folder))) as names:
            while wanted < len(chunks):
                if chunks[wanted].name in ready:
                    yield from self._taken(chunks[wanted], folder)
                    wanted += 1
                elif (name := next(names, None)) is not None:
                    ready.add(name)
                else:
                    left = sum(chunk.name not in ready for chunk in chunks)
                    raise EngineError(f"{left} of {len(chunks)} chunks have no results. Run the command again.")

    def _taken(self, chunk: AnswerChunk, folder: AnswerFolder) -> list[Classification]:
        """Return the results of a chunk, which is classified again where another run took them and deleted them."""
        try:
            return folder.answers(chunk.name)
        except FileNotFoundError:
            for _ in self._answered([chunk], folder):
                pass
            return folder.answers(chunk.name)

    def _answered(self, chunks: Sequence[AnswerChunk], folder: AnswerFolder) -> Iterator[str]:
        """Yield the names of chunks as their results come."""
        config, options = self.config.model_dump(), self.options
        builder = AnswerWorkerBuilder(folder, config, self.leave_out_identical, options, self.threads)
        retrieval = self.config.retrieval
        if len(chunks) > 1 and uses_store(retrieval, index_location(retrieval.index_path)):
            return joined(self.engine, chunks, JoinWorkerBuilder(builder))
        return self.engine.run(chunks, builder)

    def _identity(self) -> str | None:
        """Return what the results depend on apart from the images."""
        if self.work is None or self.identity is None:
            return None
        options, images = self.options, self.config.images.model_dump_json(exclude={"threads", "readers"})
        labels = None if options.labels is None else sorted(options.labels)
        values = [self.identity, self.leave_out_identical, labels, options.allow_unknown, options.all_labels]
        return sha256(json.dumps([*values, options.vector, images]).encode("ascii")).hexdigest()

    @contextmanager
    def _folder(self) -> Iterator[AnswerFolder]:
        run = secrets.token_hex(8)
        if self.work is not None:
            yield AnswerFolder(self.work, run)
            return
        with tempfile.TemporaryDirectory(prefix="lmm-classifier-") as folder:
            yield AnswerFolder(folder, run)


def _generator(names: Iterator[str]) -> Generator[str, None, None]:
    """Return a generator, which ends the workers when it is closed."""
    yield from names
