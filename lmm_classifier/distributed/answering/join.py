"""Join many images with a table: each label's rows are read once for all images of a wave, not once for each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lmm_classifier.core.errors import EngineError
from lmm_classifier.core.protocols import Engine
from lmm_classifier.distributed.answering.answer_chunks import AnswerChunk
from lmm_classifier.distributed.answering.join_worker import (
    DecideTask,
    EncodeTask,
    JoinOutcome,
    JoinTask,
    JoinWorkerBuilder,
    RangeTask,
)

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
        encoded = _all_done(engine, [EncodeTask(chunk) for chunk in wave], builder)
        ranges = _ranges(encoded, tuple(chunk.name for chunk in wave))
        _all_done(engine, ranges, builder)
        starts = tuple(task.start for task in ranges)
        tasks: list[JoinTask] = [DecideTask(chunk, starts) for chunk in wave]
        for outcome in engine.run(tasks, builder):
            yield outcome.name


def _all_done(engine: Engine, tasks: Sequence[JoinTask], builder: JoinWorkerBuilder) -> list[JoinOutcome]:
    outcomes = list(engine.run(tasks, builder))
    if len(outcomes) < len(tasks):
        raise EngineError(f"{len(tasks) - len(outcomes)} of {len(tasks)} tasks were not done. Run the command again.")
    return outcomes


def _ranges(encoded: Sequence[JoinOutcome], names: tuple[str, ...]) -> list[RangeTask]:
    """Return the tasks that compare all images of a wave with the labels that compete for any of them."""
    label_ids = np.unique(np.concatenate([np.array(outcome.label_ids, np.int64) for outcome in encoded]))
    tasks = []
    for start, stop in encoded[0].ranges:
        wanted = label_ids[(label_ids >= start) & (label_ids < stop)]
        if len(wanted):
            tasks.append(RangeTask(names, start, stop, tuple(wanted.tolist())))
    return tasks
