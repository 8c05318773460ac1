"""Join many images with a table: each label's rows are read once for all images of a wave, not once for each image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmm_classifier.core.arrays import IntArray
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
# Waves that go through a step together. Each step starts the workers of the engine, which takes a large cluster as long
# as to encode some hundred thousand images. Until a wave is decided, its files take up to 25 KB for each image.
WAVES = 16


@dataclass
class _Wave:
    """Some chunks on their way: what they were compared by, and what is to be read for the step under way."""

    chunks: Sequence[AnswerChunk]
    compared: Compared = ()
    label_ids: dict[int, IntArray] = field(default_factory=dict)  # that compete, ascending, by the place of the encoder

    def add(self, outcome: JoinOutcome) -> None:
        """Take what competes for the images of a chunk."""
        for competing in outcome.competing:
            former = self.label_ids.get(competing.encoder, np.empty(0, np.int64))
            self.label_ids[competing.encoder] = np.union1d(former, np.array(competing.label_ids, np.int64))

    def range_tasks(self, step: int, encoded: JoinOutcome) -> list[RangeTask]:
        """Return the tasks that compare the images with the labels that compete for any of them."""
        tasks, names = list[RangeTask](), tuple(chunk.name for chunk in self.chunks)
        for competing in encoded.competing:
            label_ids, starts = self.label_ids.pop(competing.encoder), list[int]()
            for start, stop in competing.ranges:
                wanted = label_ids[(label_ids >= start) & (label_ids < stop)]
                if len(wanted):
                    tasks.append(RangeTask(names, step, competing.encoder, start, stop, tuple(wanted.tolist())))
                    starts.append(start)
            self.compared = (*self.compared, (competing.encoder, tuple(starts)))
        return tasks


def joined(engine: Engine, chunks: Sequence[AnswerChunk], builder: JoinWorkerBuilder) -> Iterator[str]:
    """Yield the names of chunks as their results come; some waves go through each step together.

    Args:
        engine: runs the workers.
        chunks: images without results.
        builder: makes workers.
    """
    for first in range(0, len(chunks), WAVE * WAVES):
        part = chunks[first : first + WAVE * WAVES]
        waves = [_Wave(part[start : start + WAVE]) for start in range(0, len(part), WAVE)]
        step, steps = 0, 1
        while step < steps:
            steps, step = _step(engine, waves, step, builder), step + 1
        tasks: list[JoinTask] = [DecideTask(chunk, wave.compared) for wave in waves for chunk in wave.chunks]
        for outcome in engine.run(tasks, builder):
            yield outcome.name
        builder.of_answers.folder.end_comparison([chunk.name for chunk in part])


def _step(engine: Engine, waves: Sequence[_Wave], step: int, builder: JoinWorkerBuilder) -> int:
    """Encode and compare the images that a step of the cascade asks about; return how many steps there are."""
    wave_of = {chunk.name: wave for wave in waves for chunk in wave.chunks}
    tasks: list[JoinTask] = [EncodeTask(chunk, step, wave.compared) for wave in waves for chunk in wave.chunks]
    for outcome in _all_done(engine, tasks, builder):
        wave_of[outcome.name].add(outcome)
        encoded = outcome  # ranges and steps are the same in each
    for _ in _all_done(engine, [task for wave in waves for task in wave.range_tasks(step, encoded)], builder):
        pass
    return encoded.steps


def _all_done(engine: Engine, tasks: Sequence[JoinTask], builder: JoinWorkerBuilder) -> Iterator[JoinOutcome]:
    done = 0
    for outcome in engine.run(tasks, builder) if tasks else ():
        done += 1
        yield outcome
    if done < len(tasks):
        raise EngineError(f"{len(tasks) - done} of {len(tasks)} tasks were not done. Run the command again.")
