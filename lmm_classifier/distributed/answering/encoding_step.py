"""One step of a join: encode the images of a chunk that are asked about, and find which labels compete for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lmm_classifier.core.arrays import IntArray
from lmm_classifier.data.places import Place
from lmm_classifier.distributed.answering.answer_chunks import AnswerFolder
from lmm_classifier.distributed.answering.answer_worker import ended_worker, patience
from lmm_classifier.distributed.answering.compared_chunk import ComparedChunk, store_encoders
from lmm_classifier.distributed.answering.join_tasks import EncodeTask
from lmm_classifier.distributed.answering.query_file import (
    EncodedQuery,
    QueryFile,
    encoded_from_bytes,
    encoded_to_bytes,
    vectors_of,
)
from lmm_classifier.distributed.isolation import IsolatedWork
from lmm_classifier.distributed.watchdog import Watchdog
from lmm_classifier.neighbors.gathering.compared_pairs import Competing
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.retrieval.store_retriever import StoreRetriever
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions
from lmm_classifier.pipeline.stages.encoded_files import encoded_files


@dataclass(frozen=True)
class EncodingStep:
    """Does a task, and gives what it found as a file."""

    folder: AnswerFolder
    classifier: HybridClassifier
    leave_out_identical: bool
    options: AnswerOptions
    task: EncodeTask

    def file(self) -> QueryFile:
        """Encode the images, each of which may end this worker, and find what competes for them."""
        retriever, places = self.classifier.retriever, self.task.chunk.places
        retriever.index.require_labels(self.options.labels)
        asked = np.arange(len(places)) if self.task.step == 0 else self._asked()
        work = IsolatedWork(
            self.folder.chunks,
            self.folder.run,
            f"{self.task.chunk.name}.encode{self.task.step}",
            len(asked),
            make=lambda start, stop: self._encoded([places[image] for image in asked[start:stop]]),
            refuse=lambda number: self._refused(places[asked[number]]),
            to_bytes=encoded_to_bytes,
            from_bytes=partial(encoded_from_bytes, source=self.task.chunk.name),
        )
        queries = [EncodedQuery(None)] * len(places)
        for image, query in zip(asked.tolist(), work.rows() if len(asked) else [], strict=True):
            queries[image] = query
        return self._with_competing(queries)

    @property
    def _encoders(self) -> tuple[int, ...]:
        return self.classifier.retriever.steps[self.task.step][1]

    def _asked(self) -> IntArray:
        """Return the places of the images that the steps before left unsure."""
        retriever, found = self.classifier.retriever, [np.empty(0, np.int64)]
        chunk = ComparedChunk.read(self.folder, self.task.chunk.name, retriever, self.task.compared)
        for start in range(0, len(chunk.encoded), step := retriever.queries_at_once):
            images = chunk.encoded[start : start + step]
            vectors, compared = chunk.given(images, retriever)
            hashes = [chunk.content_hash(image) for image in images.tolist()] if self.leave_out_identical else None
            found.append(images[compared.asked_by(retriever.steps[self.task.step][0], vectors, hashes)])
        return np.concatenate(found)

    def _encoded(self, places: Sequence[Place]) -> list[EncodedQuery]:
        classifier, queries, encoders = self.classifier, dict[int, EncodedQuery](), self._encoders
        opened = lambda: classifier.encoders  # noqa: E731 - the parameter is a function
        with Watchdog(patience(classifier.config), f"{places[0]} and those after it") as watchdog:
            for batch, encoded in encoded_files(places, opened, encoders, (), classifier.config, self.options):
                watchdog.beat()
                for row, file in enumerate(batch.encoded):
                    vectors = tuple(encoded.vectors.known[place][row] for place in encoders)
                    queries[file.position] = EncodedQuery(file.content_hash, vectors)
                for failed in batch.failed:
                    queries[failed.position] = EncodedQuery(failed.content_hash, (), failed.reason)
        return [queries[position] for position in range(len(places))]

    def _refused(self, place: Place) -> EncodedQuery:
        return EncodedQuery(None, (), ended_worker(self.classifier.config, place).error)

    def _with_competing(self, queries: Sequence[EncodedQuery]) -> QueryFile:
        retriever = self.classifier.retriever
        hashes = [query.content_hash for query in queries if query.vectors]
        left_out = retriever.index.rows_with_hash(hashes) if self.leave_out_identical else []
        encoders = [store_encoders(retriever)[place] for place in self._encoders]
        competing = [_competing(encoder, queries, number, left_out) for number, encoder in enumerate(encoders)]
        return QueryFile(queries, [encoder.index.store.version for encoder in encoders], competing, left_out)


def _competing(
    encoder: StoreRetriever, queries: Sequence[EncodedQuery], number: int, left_out: Sequence[IntArray]
) -> Competing:
    """Find what competes for the images that have vectors, by an encoder."""
    vectors, parts = vectors_of(queries, number), list[Competing]()
    for start in range(0, len(vectors), step := encoder.queries_at_once):
        part = slice(start, start + step)
        parts.append(encoder.comparison.competing(encoder.index.queries(vectors[part]), left_out[part]))
    return Competing.following(parts)
