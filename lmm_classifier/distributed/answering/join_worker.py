"""What one worker does of a join of images with a table: encode, compare with the rows of some labels, decide.

The pairs of an image and a row are computed label by label for all images of a wave, so the rows of a label are read
once for all of them. The decision then takes the pairs of an image from files, and is that of `classify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lmm_classifier.core.arrays import IntArray
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.data.places import Place
from lmm_classifier.distributed.answering.answer_chunks import AnswerFolder
from lmm_classifier.distributed.answering.answer_worker import AnswerWorkerBuilder, ended_worker, patience
from lmm_classifier.distributed.answering.compared_chunk import ComparedChunk, read_queries, store_encoders
from lmm_classifier.distributed.answering.encoding_step import EncodingStep
from lmm_classifier.distributed.answering.join_tasks import (
    CompetingLabels,
    DecideTask,
    EncodeTask,
    JoinOutcome,
    JoinTask,
    RangeTask,
)
from lmm_classifier.distributed.answering.stored_answers import from_lines, to_lines
from lmm_classifier.distributed.isolation import IsolatedWork
from lmm_classifier.distributed.watchdog import Watchdog
from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs
from lmm_classifier.neighbors.gathering.store_similarities import StoreComparison
from lmm_classifier.neighbors.novelty import NEIGHBORS
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.flow import Query
from lmm_classifier.pipeline.retrieval.store_retriever import StoreRetriever
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions
from lmm_classifier.pipeline.stages.prepared_image import read_again
from lmm_classifier.pipeline.stages.reranking import rerank_votes
from lmm_classifier.pipeline.stages.unreadable import unreadable

_RANGE_BYTES = 1 << 28  # of the rows of a range of labels: 268 MB


@dataclass(frozen=True)
class JoinWorkerBuilder:
    """Makes a worker where the work is done."""

    of_answers: AnswerWorkerBuilder

    def __call__(self) -> JoinWorker:
        """Open the table and the encoders; return the worker."""
        answers = self.of_answers
        return JoinWorker(answers.folder, answers.classifier(), answers.leave_out_identical, answers.options)


@dataclass(frozen=True)
class JoinWorker:
    """Does one task after the other. What is there is not made again."""

    folder: AnswerFolder
    classifier: HybridClassifier
    leave_out_identical: bool
    options: AnswerOptions

    def __call__(self, task: JoinTask) -> JoinOutcome:
        """Do a task of any of the steps."""
        if isinstance(task, EncodeTask):
            return self._encode(task)
        if isinstance(task, RangeTask):
            return self._compare(task)
        if not self.folder.has_answers(task.chunk.name):
            self._decide(task)
        return JoinOutcome(task.chunk.name)

    @property
    def encoders(self) -> Sequence[StoreRetriever]:
        """The retrieval through the store by each encoder; raise ConfigError where there is none."""
        encoders = store_encoders(self.classifier.retriever)
        if not encoders:
            raise ConfigError("A join needs an index whose rows stay in a store: set retrieval.search to store.")
        return encoders

    def _encode(self, task: EncodeTask) -> JoinOutcome:
        encoders, name = self.encoders, task.chunk.name
        if not self.folder.has_queries(name, task.step):
            step = EncodingStep(self.folder, self.classifier, self.leave_out_identical, self.options, task)
            self.folder.put_queries(name, task.step, step.file())
        steps = self.classifier.retriever.steps
        file = read_queries(self.folder, name, task.step, self.classifier.retriever)
        competing = []
        for place, of_encoder in zip(steps[task.step][1], file.competing, strict=True):
            comparison = encoders[place].comparison
            touched = of_encoder.touched(comparison.store.counts, comparison.limits.rows)
            competing.append(CompetingLabels(place, tuple(touched.tolist()), _ranges(comparison)))
        return JoinOutcome(name, tuple(competing), len(steps))

    def _compare(self, task: RangeTask) -> JoinOutcome:
        """Write, for each chunk, its pairs with rows of the labels of a range, of each label the best ones."""
        retriever = self.encoders[task.encoder]
        number = self.classifier.retriever.steps[task.step][1].index(task.encoder)
        todo = [name for name in task.names if not self.folder.has_pairs(name, task.encoder, task.start)]
        read = retriever.comparison.label_rows(np.array(task.label_ids if todo else (), np.int64))
        kept = max(NEIGHBORS, self.classifier.config.retrieval.neighbors_per_label)
        for name in todo:
            file, parts = read_queries(self.folder, name, task.step, self.classifier.retriever), list[ComparedPairs]()
            competing, vectors = file.competing[number].within(task.start, task.stop), file.vectors(number)
            for start in range(0, len(vectors), step := retriever.queries_at_once):
                part = slice(start, start + step)
                queries = retriever.index.queries(vectors[part])
                pairs = retriever.comparison.pairs(queries, read, competing.part(part), file.left_out[part])
                parts.append(pairs.best(kept).numbered_from(start))
            self.folder.put_pairs(name, task.encoder, task.start, ComparedPairs.following(parts))
        return JoinOutcome("")

    def _decide(self, task: DecideTask) -> None:
        chunk = task.chunk
        compared = ComparedChunk.read(self.folder, chunk.name, self.classifier.retriever, task.compared)
        work = IsolatedWork(
            self.folder.chunks,
            self.folder.run,
            f"{chunk.name}.decide",
            len(chunk.places),
            make=lambda start, stop: self._decided(chunk.places, compared, start, stop),
            refuse=lambda place: ended_worker(self.classifier.config, chunk.places[place]),
            to_bytes=to_lines,
            from_bytes=partial(from_lines, source=chunk.name),
        )
        self.folder.put_answers(chunk.name, work.rows())

    def _decided(self, places: Sequence[Place], compared: ComparedChunk, start: int, stop: int) -> list[Classification]:
        config, results = self.classifier.config, dict[int, Classification]()
        for number, query in enumerate(compared.files[0].queries[start:stop], start):
            if not query.vectors:
                results[number] = unreadable(config.unknown_label, str(places[number]), query.error, query.content_hash)
        good = compared.encoded[(compared.encoded >= start) & (compared.encoded < stop)]
        with Watchdog(patience(config), f"{places[start]} and those after it") as watchdog:
            for first in range(0, len(good), step := self.classifier.retriever.queries_at_once):
                part = good[first : first + step]
                results |= zip(part.tolist(), self._answers(places, compared, part))
                watchdog.beat()
        return [results[number] for number in range(start, stop)]

    def _answers(self, places: Sequence[Place], compared: ComparedChunk, images: IntArray) -> list[Classification]:
        classifier, limits = self.classifier, self.classifier.config.images.limits
        fast = classifier.config.images.fast_jpeg
        min_side = max(encoder.image_size for encoder in classifier.encoders) if fast else None
        asked = []
        for image in images.tolist():
            content = compared.content_hash(image)
            again = partial(read_again, places[image], content, limits=limits, min_side=min_side)
            asked.append(Query(again, content, self.options))
        flow = classifier._current_flow()
        vectors, retriever = compared.given(images, flow.retriever)
        votes = replace(flow, retriever=retriever).vote(vectors, asked, self.leave_out_identical)
        results = rerank_votes(votes)
        return [
            replace(result, path=str(places[image])) for image, result in zip(images.tolist(), results, strict=True)
        ]


def _ranges(comparison: StoreComparison) -> tuple[tuple[int, int], ...]:
    """Cut the labels into ranges whose rows fit in memory; the same for each worker."""
    store = comparison.store
    sizes = np.minimum(store.counts, comparison.limits.rows)
    most = max(_RANGE_BYTES // (4 * max(store.means.shape[1], 1)), 1)
    numbers = np.cumsum(sizes) // most
    starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist()]
    return tuple(zip(starts, [*starts[1:], len(sizes)]))
