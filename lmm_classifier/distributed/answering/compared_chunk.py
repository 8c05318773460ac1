"""The images of a chunk that were compared with a table, as what scores them takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import EngineError
from lmm_classifier.distributed.answering.answer_chunks import AnswerFolder
from lmm_classifier.distributed.answering.join_tasks import Compared
from lmm_classifier.distributed.answering.query_file import QueryFile
from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.retrieval.store_retriever import ComparedQueries, StoreRetriever


@dataclass(frozen=True)
class ComparedChunk:
    """The images of a chunk with their vectors by step of the cascade, and with their pairs by encoder."""

    steps: Sequence[tuple[int, ...]]  # places of the encoders that were asked
    files: Sequence[QueryFile]  # of each step
    pairs: Mapping[int, ComparedPairs]  # by the place of the encoder

    @classmethod
    def read(cls, folder: AnswerFolder, name: str, retriever: Retriever, compared: Compared) -> ComparedChunk:
        """Read what is there of a chunk; raise EngineError where it is of another version of the index."""
        starts = dict(compared)
        steps = [places for _, places in retriever.steps if starts.keys() >= set(places)]
        files = [read_queries(folder, name, number, retriever) for number in range(len(steps))]
        pairs = {
            place: ComparedPairs.joined([folder.pairs(name, place, start) for start in starts[place]])
            for places in steps
            for place in places
        }
        return cls(steps, files, pairs)

    @cached_property
    def encoded(self) -> IntArray:
        """The places of the images that the first step encoded, ascending."""
        return np.array([place for place, query in enumerate(self.files[0].queries) if query.vectors], np.int64)

    def content_hash(self, place: int) -> str:
        """Return the content hash of an encoded image, as the first step read it."""
        return self.files[0].queries[place].content_hash or ""

    def given(self, images: IntArray, retriever: Retriever) -> tuple[QueryVectors, Retriever]:
        """Return the vectors of n consecutive ones of the encoded images, and retrieval that takes their pairs."""
        known, partly = dict[int, Float32Array](), dict[int, tuple[IntArray, Float32Array]]()
        compared = dict[int, ComparedQueries]()
        for step, (places, file) in enumerate(zip(self.steps, self.files, strict=True)):
            has_some = np.array([bool(query.vectors) for query in file.queries], bool)
            rows = np.flatnonzero(has_some[images])
            first = int(has_some[: images[0]].sum())
            for number, place in enumerate(places):
                vectors = np.empty((len(rows), retriever.encoders[place].index.fingerprint.dim), np.float32)
                for row, image in enumerate(images[rows].tolist()):
                    vectors[row] = file.queries[image].vectors[number]
                if step:
                    partly[place] = rows, vectors
                else:
                    known[place] = vectors
                of_images = self.pairs[place].of_queries(first, first + len(rows))
                compared[place] = ComparedQueries(len(rows), of_images)
        encoders = tuple(
            replace(encoder, compared=compared.get(place)) if isinstance(encoder, StoreRetriever) else encoder
            for place, encoder in enumerate(retriever.encoders)
        )
        return QueryVectors(len(images), known, partly=partly), replace(retriever, encoders=encoders)


def read_queries(folder: AnswerFolder, name: str, step: int, retriever: Retriever) -> QueryFile:
    """Read the vectors of a chunk; raise EngineError where they were compared with another version of the index."""
    file, places = folder.queries(name, step), retriever.steps[step][1]
    stores = [encoder.index.store for encoder in store_encoders(retriever)]
    if list(file.versions) != [stores[place].version for place in places]:
        raise EngineError("The index changed while images were classified. Run the command again.")
    return file


def store_encoders(retriever: Retriever) -> list[StoreRetriever]:
    """Return the encoders whose rows stay in a store: all of them, or none."""
    return [encoder for encoder in retriever.encoders if isinstance(encoder, StoreRetriever)]
