"""Join many images with a table: each label's rows are read once for all images of a wave, not once for each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lmm_classifier.core.errors import EngineError
from lmm_classifier.core.protocols import Engine
from lmm_classifier.distributed.answering.answer_chunks import AnswerChunk
from lmm_classifier.distributed.answering.join_tasks import (
    Compared,
    DecideTask,
    EncodeTask,
    JoinOutcome,
    JoinTask,
    RangeTask,
)
from lmm_classifier.distributed.answering.join_worker import JoinWorkerBuilder

WAVE = 64  # chunks that are compared together


def joined(engine: Engine, chunks: Sequence[AnswerChunk], builder: JoinWorkerBuilder) -> Iterator[str]:
    """Yield the names of chunks as their results come, wave by wave.

    Args:
        engine: runs the workers.
        chunks: images without results.
        builder: makes workers.
    """
    for start in range(0, len(chunks), WAVE):
        wave = chunks[start : start + WAVE]
        compared = _compared(engine, wave, builder)
        tasks: list[JoinTask] = [DecideTask(chunk, compared) for chunk in wave]
        for outcome in engine.run(tasks, builder):
            yield outcome.name


def _compared(engine: Engine, wave: Sequence[AnswerChunk], builder: JoinWorkerBuilder) -> Compared:
    """Encode and compare the images, step by step of the cascade; return what was compared."""
    names = tuple(chunk.name for chunk in wave)
    compared: Compared = ()
    step, steps = 0, 1
    while step < steps:
        encoded = _all_done(engine, [EncodeTask(chunk, step, compared) for chunk in wave], builder)
        ranges = _ranges(encoded, names, step)
        _all_done(engine, ranges, builder)
        for competing in encoded[0].competing:
            starts = tuple(task.start for task in ranges if task.encoder == competing.encoder)
            compared = (*compared, (competing.encoder, starts))
        step, steps = step + 1, encoded[0].steps
    return compared


def _all_done(engine: Engine, tasks: Sequence[JoinTask], builder: JoinWorkerBuilder) -> list[JoinOutcome]:
    outcomes = list(engine.run(tasks, builder)) if tasks else []
    if len(outcomes) < len(tasks):
        raise EngineError(f"{len(tasks) - len(outcomes)} of {len(tasks)} tasks were not done. Run the command again.")
    return outcomes


def _ranges(encoded: Sequence[JoinOutcome], names: tuple[str, ...], step: int) -> list[RangeTask]:
    """Return the tasks that compare the images of a wave with the labels that compete for any of them."""
    tasks = []
    for number, competing in enumerate(encoded[0].competing):
        each = [np.array(outcome.competing[number].label_ids, np.int64) for outcome in encoded]
        label_ids = np.unique(np.concatenate(each))
        for start, stop in competing.ranges:
            wanted = label_ids[(label_ids >= start) & (label_ids < stop)]
            if len(wanted):
                tasks.append(RangeTask(names, step, competing.encoder, start, stop, tuple(wanted.tolist())))
    return tasks
