"""Classify many images by the workers of an engine; each answers some of them as `HybridClassifier` does.

A worker answers its images together. So it reads the rows of a label once for all of them where the index is a table.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.core.protocols import Engine
from lmm_classifier.data.places import Place
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions

MOST_IMAGES = 1024  # of a task


@dataclass(frozen=True, slots=True)
class AnswerTask:
    """Images to classify, and their place among all tasks."""

    number: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """The results of a task, in the order of its images."""

    number: int
    results: tuple[Classification, ...]


@dataclass(frozen=True)
class AnswerWorkerBuilder:
    """Makes a worker where the work is done: it opens the index, the encoders and the reranker there."""

    config: Mapping[str, Any]  # `PipelineConfig.model_dump`
    leave_out_identical: bool = False
    options: AnswerOptions = ANY
    threads: int = 0

    def __call__(self) -> AnswerWorker:
        """Return the worker."""
        config = PipelineConfig.model_validate(dict(self.config))
        if self.threads:
            config.images.threads = config.images.threads or self.threads
            for encoder in config.encoders:
                encoder.threads = encoder.threads or self.threads
        return AnswerWorker(HybridClassifier(config), self.leave_out_identical, self.options)


@dataclass(frozen=True)
class AnswerWorker:
    """Classifies the images of one task after the other."""

    classifier: HybridClassifier
    leave_out_identical: bool
    options: AnswerOptions

    def __call__(self, task: AnswerTask) -> Answers:
        """Return the results of a task."""
        results = self.classifier.classify_paths(task.places, self.leave_out_identical, self.options)
        return Answers(task.number, tuple(results))


@dataclass(frozen=True)
class EngineClassifier:
    """Classifies files by the workers of an engine.

    Args:
        config: of the classifier. The paths in it must lead to the same on each machine.
        engine: runs the workers.
        leave_out_identical: ignore examples with the same content as the query.
        options: say what the images may be answered with.
        threads: of each worker; 0: one per processor.
        task_images: images that a worker answers together, at least 1.

    Raises:
        ConfigError: a task should have less than one image.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, PipelineConfig
        >>> from lmm_classifier.distributed.classification import EngineClassifier
        >>> from lmm_classifier.distributed.engines.local import InProcess
        >>> paths = sorted(Path("new").glob("*.png"))[:3]
        >>> config = PipelineConfig.offline()
        >>> results = list(EngineClassifier(config, InProcess(), task_images=2).classify_paths(paths))
        >>> results == list(HybridClassifier(config).classify_paths(paths))
        True
    """

    config: PipelineConfig
    engine: Engine
    leave_out_identical: bool = False
    options: AnswerOptions = ANY
    threads: int = 0
    task_images: int = MOST_IMAGES

    def __post_init__(self) -> None:
        if self.task_images < 1:
            raise ConfigError(f"A task of {self.task_images} images was asked for. It must have at least 1.")

    def classify_paths(self, places: Sequence[Place]) -> Iterator[Classification]:
        """Yield the results of `HybridClassifier.classify_paths`, in the order of the places.

        Raises:
            EngineError: the workers cannot be started, or end again and again.
        """
        size = self.task_images
        tasks = [
            AnswerTask(number, tuple(places[start : start + size]))
            for number, start in enumerate(range(0, len(places), size))
        ]
        builder = AnswerWorkerBuilder(self.config.model_dump(), self.leave_out_identical, self.options, self.threads)
        waiting, wanted = dict[int, Answers](), 0
        with closing(_generator(self.engine.run(tasks, builder))) as outcomes:
            for answers in outcomes:
                if answers.number >= wanted:
                    waiting[answers.number] = answers
                while wanted in waiting:
                    yield from waiting.pop(wanted).results
                    wanted += 1
        if wanted < len(tasks):
            raise EngineError(f"{len(tasks) - wanted} of {len(tasks)} tasks have no results. Run the command again.")


def _generator(outcomes: Iterator[Answers]) -> Generator[Answers, None, None]:
    """Return a generator, which ends the workers when it is closed."""
    yield from outcomes
