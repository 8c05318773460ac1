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
from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.data.places import Place
from lmm_classifier.distributed.answering.answer_chunks import AnswerChunk, AnswerFolder
from lmm_classifier.distributed.answering.answer_worker import AnswerWorkerBuilder, ended_worker, patience
from lmm_classifier.distributed.answering.query_file import (
    EncodedQuery,
    QueryFile,
    encoded_from_bytes,
    encoded_to_bytes,
    vectors_of,
)
from lmm_classifier.distributed.answering.stored_answers import from_lines, to_lines
from lmm_classifier.distributed.isolation import IsolatedWork
from lmm_classifier.distributed.watchdog import Watchdog
from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs, Competing
from lmm_classifier.neighbors.novelty import NEIGHBORS
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.flow import Query
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.store_retriever import StoreRetriever
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions
from lmm_classifier.pipeline.stages.encoded_files import encoded_files
from lmm_classifier.pipeline.stages.prepared_image import read_again
from lmm_classifier.pipeline.stages.reranking import rerank_votes
from lmm_classifier.pipeline.stages.unreadable import unreadable

_RANGE_BYTES = 1 << 28  # of the rows of a range of labels: 268 MB


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """Encode the images of a chunk, and find which labels compete for them."""

    chunk: AnswerChunk


@dataclass(frozen=True, slots=True)
class RangeTask:
    """Compare the images of some chunks with rows of labels of one range."""

    names: tuple[str, ...]  # of the chunks
    start: int  # first label of the range
    stop: int
    label_ids: tuple[int, ...]  # those of the range that compete for any of the images, ascending


@dataclass(frozen=True, slots=True)
class DecideTask:
    """Decide on the images of a chunk, which were compared with the ranges of labels that begin at `starts`."""

    chunk: AnswerChunk
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JoinOutcome:
    """What a task did: of an encoded chunk, the labels that compete for its images, and the ranges of all labels."""

    name: str
    label_ids: tuple[int, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()


JoinTask = EncodeTask | RangeTask | DecideTask


@dataclass(frozen=True)
class JoinWorkerBuilder:
    """Makes a worker where the work is done."""

    of_answers: AnswerWorkerBuilder

    def __call__(self) -> JoinWorker:
        """Open the table and the encoder; return the worker."""
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
            return self._encode(task.chunk)
        if isinstance(task, RangeTask):
            return self._compare(task)
        if not self.folder.has_answers(task.chunk.name):
            self._decide(task)
        return JoinOutcome(task.chunk.name)

    @property
    def retriever(self) -> StoreRetriever:
        """The retrieval through the store; raise ConfigError where there is none."""
        (encoder,) = self.classifier.retriever.encoders
        if not isinstance(encoder, StoreRetriever):
            raise ConfigError("A join needs an index whose rows stay in a store: set retrieval.search to store.")
        return encoder

    def _encode(self, chunk: AnswerChunk) -> JoinOutcome:
        retriever = self.retriever
        comparison, store = retriever.comparison, retriever.index.store
        if not self.folder.has_queries(chunk.name):
            retriever.index.require_labels(self.options.labels)
            work = IsolatedWork(
                self.folder.chunks,
                self.folder.run,
                f"{chunk.name}.encode",
                len(chunk.places),
                make=lambda start, stop: self._encoded(chunk.places[start:stop]),
                refuse=lambda place: self._refused(chunk.places[place]),
                to_bytes=encoded_to_bytes,
                from_bytes=partial(encoded_from_bytes, source=chunk.name),
            )
            self.folder.put_queries(chunk.name, self._with_competing(work.rows()))
        file = self._queries(chunk.name)
        touched = file.competing.touched(store.counts, comparison.limits.rows)
        return JoinOutcome(chunk.name, tuple(touched.tolist()), self._ranges())

    def _ranges(self) -> tuple[tuple[int, int], ...]:
        """Cut the labels into ranges whose rows fit in memory; the same for each worker."""
        comparison = self.retriever.comparison
        store = comparison.store
        sizes = np.minimum(store.counts, comparison.limits.rows)
        most = max(_RANGE_BYTES // (4 * max(store.means.shape[1], 1)), 1)
        numbers = np.cumsum(sizes) // most
        starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist()]
        return tuple(zip(starts, [*starts[1:], len(sizes)]))

    def _encoded(self, places: Sequence[Place]) -> list[EncodedQuery]:
        classifier, queries = self.classifier, dict[int, EncodedQuery]()
        opened = lambda: classifier.encoders  # noqa: E731 - the parameter is a function
        with Watchdog(patience(classifier.config), f"{places[0]} and those after it") as watchdog:
            for batch, encoded in encoded_files(places, opened, (0,), (), classifier.config, self.options):
                watchdog.beat()
                for row, file in enumerate(batch.encoded):
                    queries[file.position] = EncodedQuery(file.content_hash, encoded.vectors.known[0][row])
                for failed in batch.failed:
                    queries[failed.position] = EncodedQuery(failed.content_hash, None, failed.reason)
        return [queries[position] for position in range(len(places))]

    def _refused(self, place: Place) -> EncodedQuery:
        return EncodedQuery(None, None, ended_worker(self.classifier.config, place).error)

    def _with_competing(self, queries: Sequence[EncodedQuery]) -> QueryFile:
        retriever, vectors, parts = self.retriever, vectors_of(queries), list[Competing]()
        hashes = [query.content_hash for query in queries if query.vector is not None]
        left_out = retriever.index.rows_with_hash(hashes) if self.leave_out_identical else []
        for start in range(0, len(vectors), step := retriever.queries_at_once):
            part = slice(start, start + step)
            parts.append(retriever.comparison.competing(retriever.index.queries(vectors[part]), left_out[part]))
        return QueryFile(queries, retriever.index.store.version, Competing.following(parts), left_out)

    def _compare(self, task: RangeTask) -> JoinOutcome:
        """Write, for each chunk, its pairs with rows of the labels of a range, of each label the best ones."""
        retriever = self.retriever
        todo = [name for name in task.names if not self.folder.has_pairs(name, task.start)]
        read = retriever.comparison.label_rows(np.array(task.label_ids if todo else (), np.int64))
        kept = max(NEIGHBORS, self.classifier.config.retrieval.neighbors_per_label)
        for name in todo:
            file = self._queries(name)
            competing, vectors, parts = (
                file.competing.within(task.start, task.stop),
                file.vectors,
                list[ComparedPairs](),
            )
            for start in range(0, len(vectors), step := retriever.queries_at_once):
                part = slice(start, start + step)
                queries = retriever.index.queries(vectors[part])
                pairs = retriever.comparison.pairs(queries, read, competing.part(part), file.left_out[part])
                parts.append(pairs.best(kept).numbered_from(start))
            self.folder.put_pairs(name, task.start, ComparedPairs.following(parts))
        return JoinOutcome("")

    def _decide(self, task: DecideTask) -> None:
        chunk, file = task.chunk, self._queries(task.chunk.name)
        pairs = ComparedPairs.joined([self.folder.pairs(chunk.name, start) for start in task.starts])
        rows = np.cumsum([0, *(query.vector is not None for query in file.queries)])

        def decided(start: int, stop: int) -> list[Classification]:
            of_part = pairs.of_queries(int(rows[start]), int(rows[stop]))
            return self._decided(chunk.places[start:stop], file.queries[start:stop], of_part)

        work = IsolatedWork(
            self.folder.chunks,
            self.folder.run,
            f"{chunk.name}.decide",
            len(chunk.places),
            make=decided,
            refuse=lambda place: ended_worker(self.classifier.config, chunk.places[place]),
            to_bytes=to_lines,
            from_bytes=partial(from_lines, source=chunk.name),
        )
        self.folder.put_answers(chunk.name, work.rows())

    def _decided(
        self, places: Sequence[Place], queries: Sequence[EncodedQuery], pairs: ComparedPairs
    ) -> list[Classification]:
        config, good = self.classifier.config, list[int]()
        results = dict[int, Classification]()
        for number, (place, query) in enumerate(zip(places, queries, strict=True)):
            if query.vector is None:
                results[number] = unreadable(config.unknown_label, str(place), query.error, query.content_hash)
            else:
                good.append(number)
        with Watchdog(patience(config), f"{places[0]} and those after it") as watchdog:
            for start in range(0, len(good), step := self.retriever.queries_at_once):
                part = np.array(good[start : start + step], np.int64)
                of_part = pairs.of_queries(start, start + len(part))
                results |= zip(part.tolist(), self._answers(places, queries, part, of_part))
                watchdog.beat()
        return [results[number] for number in range(len(places))]

    def _answers(
        self, places: Sequence[Place], queries: Sequence[EncodedQuery], rows: IntArray, pairs: ComparedPairs
    ) -> list[Classification]:
        classifier, limits = self.classifier, self.classifier.config.images.limits
        fast = classifier.config.images.fast_jpeg
        min_side = max(encoder.image_size for encoder in classifier.encoders) if fast else None
        asked = []
        for row in rows.tolist():
            content = queries[row].content_hash or ""
            again = partial(read_again, places[row], content, limits=limits, min_side=min_side)
            asked.append(Query(again, content, self.options))
        flow = classifier._current_flow()
        compared = replace(flow.retriever, encoders=(replace(self.retriever, pairs=pairs),))
        vectors = QueryVectors.given(vectors_of([queries[row] for row in rows.tolist()]))
        votes = replace(flow, retriever=compared).vote(vectors, asked, self.leave_out_identical)
        results = rerank_votes(votes)
        return [replace(result, path=str(places[row])) for row, result in zip(rows.tolist(), results, strict=True)]

    def _queries(self, name: str) -> QueryFile:
        file = self.folder.queries(name)
        if file.version != self.retriever.index.store.version:
            raise EngineError("The index changed while images were classified. Run the command again.")
        return file
