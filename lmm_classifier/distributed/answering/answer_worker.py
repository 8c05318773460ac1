"""Classify chunks of images: what one worker does, on whichever machine it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.data.places import Place
from lmm_classifier.distributed.answering.answer_chunks import AnswerChunk, AnswerFolder
from lmm_classifier.distributed.answering.stored_answers import from_lines, to_lines
from lmm_classifier.distributed.chunk_worker import PATIENCE
from lmm_classifier.distributed.isolation import TRIES, IsolatedWork
from lmm_classifier.distributed.watchdog import Watchdog
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions
from lmm_classifier.pipeline.stages.unreadable import unreadable


@dataclass(frozen=True)
class AnswerWorkerBuilder:
    """Makes a worker where the work is done: it opens the index, the encoders and the reranker there."""

    folder: AnswerFolder
    config: Mapping[str, Any]  # `PipelineConfig.model_dump`
    leave_out_identical: bool = False
    options: AnswerOptions = ANY
    threads: int = 0

    def __call__(self) -> AnswerWorker:
        """Return the worker."""
        return AnswerWorker(self.folder, self.classifier(), self.leave_out_identical, self.options)

    def classifier(self) -> HybridClassifier:
        """Open the classifier of a worker."""
        config = PipelineConfig.model_validate(dict(self.config))
        if self.threads:
            config.images.threads = config.images.threads or self.threads
            for encoder in config.encoders:
                encoder.threads = encoder.threads or self.threads
        return HybridClassifier(config)


@dataclass(frozen=True)
class AnswerWorker:
    """Classifies one chunk after the other, and returns their names: the results are in files."""

    folder: AnswerFolder
    classifier: HybridClassifier
    leave_out_identical: bool = False
    options: AnswerOptions = ANY

    def __call__(self, chunk: AnswerChunk) -> str:
        """Classify a chunk, unless its results are there."""
        if not self.folder.has_answers(chunk.name):
            work = IsolatedWork(
                self.folder.chunks,
                self.folder.run,
                chunk.name,
                len(chunk.places),
                make=lambda start, stop: self._classified(chunk.places[start:stop]),
                refuse=lambda place: ended_worker(self.classifier.config, chunk.places[place]),
                to_bytes=to_lines,
                from_bytes=partial(from_lines, source=chunk.name),
            )
            self.folder.put_answers(chunk.name, work.rows())
        return chunk.name

    def _classified(self, places: tuple[Place, ...]) -> list[Classification]:
        results = list[Classification]()
        with Watchdog(patience(self.classifier.config), f"{places[0]} and those after it") as watchdog:
            for result in self.classifier.classify_paths(places, self.leave_out_identical, self.options):
                watchdog.beat()
                results.append(result)
        return results


def ended_worker(config: PipelineConfig, place: Place) -> Classification:
    """Return the result of an image that ended its worker each time."""
    reason = f"{place}: the worker that classified it ended {TRIES} times, so it is left out"
    return unreadable(config.unknown_label, str(place), reason, None)


def patience(config: PipelineConfig) -> float:
    """Return the seconds without a result after which a worker ends; a reranker may be asked about a whole batch."""
    return PATIENCE * (1 + (config.batch_size if config.rerank.enabled else 0))
