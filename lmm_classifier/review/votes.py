"""Classify images and keep their vectors; vote on them again from these, without an image, an encoder or a reranker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from PIL import Image

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.concurrency import cpu_count, threaded_map
from lmm_classifier.core.datatypes import Candidate, Classification
from lmm_classifier.core.errors import EncoderError, ImageError, UnreadableImageError
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.flow import Flow, Query
from lmm_classifier.pipeline.policy import ThresholdPolicy
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.stages.prepared_image import PreparedImage
from lmm_classifier.pipeline.stages.unreadable import unreadable
from lmm_classifier.review.images import NamedImage
from lmm_classifier.review.storage.records import UNREADABLE


@dataclass(frozen=True)
class AskedVectors(QueryVectors):
    """Vectors that remember every encoder that was asked about an image: `asked[row][place]` is one of them (dim,)."""

    asked: dict[int, dict[int, Float32Array]] = field(default_factory=dict)
    first: int = 0  # row of the first image

    @classmethod
    def over(cls, vectors: QueryVectors) -> AskedVectors:
        """Remember what is asked of other vectors."""
        return cls(**{each.name: getattr(vectors, each.name) for each in fields(QueryVectors)})

    def part(self, rows: slice) -> AskedVectors:
        """Return those of consecutive images."""
        return replace(self.over(super().part(rows)), asked=self.asked, first=self.first + rows.start)

    def of(self, encoder: int, rows: IntArray) -> tuple[Float32Array, IntArray]:
        """Return the vectors of an encoder as the base class does."""
        vectors, answered = super().of(encoder, rows)
        for row, vector in zip(answered.tolist(), vectors):
            self.asked.setdefault(self.first + row, {})[encoder] = vector
        return vectors, answered


@dataclass(frozen=True)
class StoredVectors(QueryVectors):
    """Vectors of n images, some of which an encoder was never asked about; these keep the answer of the stage before.

    `known[place]` are the vectors (m, dim) of the images `rows_of[place]` (m,), ascending.
    """

    rows_of: Mapping[int, IntArray] = field(default_factory=dict)

    def part(self, rows: slice) -> StoredVectors:
        """Return those of consecutive images."""
        start, stop, _ = rows.indices(self.count)
        known, rows_of = {}, {}
        for place, which in self.rows_of.items():
            inside = slice(*np.searchsorted(which, [start, stop]).tolist())
            known[place], rows_of[place] = self.known[place][inside], which[inside] - start
        return StoredVectors(stop - start, known, rows_of=rows_of)

    def of(self, encoder: int, rows: IntArray) -> tuple[Float32Array, IntArray]:
        """Return the vectors (m, dim) of an encoder, and the rows (m,) that they are of."""
        which = self.rows_of.get(encoder, np.empty(0, np.int64))
        answered = np.intersect1d(rows, which)
        if not len(answered):
            return np.empty((0, 0), np.float32), answered
        return self.known[encoder][np.searchsorted(which, answered)], answered


@dataclass(frozen=True)
class VotedImage:
    """A result, the vectors of every encoder that was asked, by its `space_id`, and the version of the index."""

    result: Classification
    vectors: Mapping[str, Float32Array]
    index_version: int


def classify_with_vectors(classifier: HybridClassifier, images: Sequence[NamedImage]) -> list[VotedImage]:
    """Classify image files as `HybridClassifier.classify_many` does, and keep the vectors."""
    prepared = list(threaded_map(lambda image: _prepared(classifier, image), images, cpu_count()))
    encoded = classifier.encode([image for image in prepared if isinstance(image, PreparedImage)])
    vectors, version = AskedVectors.over(encoded.vectors), classifier.index.contents.version
    results = iter(classifier.vote(replace(encoded, vectors=vectors)))
    names = [encoder.fingerprint.space_id for encoder in classifier.encoders]
    unknown_label, voted, row = classifier.config.unknown_label, list[VotedImage](), 0
    for image, ready in zip(images, prepared):
        if not isinstance(ready, PreparedImage):
            content_hash = getattr(ready, "content_hash", None)
            path = str(image.file) if image.data is None else None
            voted.append(VotedImage(unreadable(unknown_label, path, ready, content_hash), {}, version))
            continue
        result = next(results)
        asked = dict[str, Float32Array]()
        if result.decision.reason != UNREADABLE:
            asked = {names[place]: vector for place, vector in vectors.asked[row].items()}
            row += 1
        voted.append(VotedImage(result, asked, version))
    return voted


def _prepared(classifier: HybridClassifier, image: NamedImage) -> PreparedImage | ImageError | EncoderError:
    try:
        return classifier.prepare(image.file if image.data is None else image.data)
    except (ImageError, EncoderError) as error:
        return error


@dataclass(frozen=True)
class Votes:
    """What an index says of n images, without the reranker; C labels."""

    labels: Sequence[str]  # the C names
    label_ids: IntArray  # (n,) the best label
    scores: Float64Array  # (n,) its probability
    second: Float64Array  # (n,) probability of the next label
    familiarity: Float64Array  # (n,)
    reasons: Sequence[str]  # n
    results: Sequence[str]  # n labels as a result shows them; the best one's, or that of unknown images

    def at(self, rows: Sequence[int]) -> Votes:
        """Return those of some of the images."""
        chosen = np.array(rows, np.int64)
        return Votes(
            self.labels,
            self.label_ids[chosen],
            self.scores[chosen],
            self.second[chosen],
            self.familiarity[chosen],
            [self.reasons[row] for row in rows],
            [self.results[row] for row in rows],
        )

    @classmethod
    def joined(cls, parts: Sequence[Votes]) -> Votes:
        """Return the votes of several parts, in order."""
        arrays = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("label_ids", "scores", "second", "familiarity")
        }
        reasons = [reason for part in parts for reason in part.reasons]
        return cls(
            parts[0].labels, **arrays, reasons=reasons, results=[name for part in parts for name in part.results]
        )


def vote(flow: Flow, vectors: StoredVectors) -> Votes:
    """Vote on images by their stored vectors; each has one of every encoder that is asked first."""
    policy = _policy(flow)
    names, parts = flow.index.label_names, list[Votes]()
    for _, scored in flow.retriever.score_in_batches(vectors):
        probabilities = scored.probabilities  # (n, C)
        best = probabilities.argmax(axis=1)
        scores = probabilities[np.arange(len(best)), best]
        rest = probabilities.copy()
        rest[np.arange(len(best)), best] = 0
        reasons, results = list[str](), list[str]()
        nearest = scored.nearest
        coarse = flow.roll_up.candidates(probabilities) if flow.roll_up else [()] * len(best)
        for row, label in enumerate(best.tolist()):
            # without a score no label has an example, as in `Flow.classify`
            candidates = (Candidate(names[label], float(scores[row]), ()),) if scores[row] > 0 else ()
            statistics = float(scored.familiarity[row]), float(nearest[row])
            decision = policy.decide(candidates, *statistics, coarse=coarse[row])
            reasons.append(decision.reason)
            rolled_up = policy.roll_up(coarse[row]) if decision.reason == "rolled_up" else None
            given = rolled_up.label if rolled_up is not None else names[label]
            results.append(flow.config.unknown_label if decision.action == "reject" else given)
        second = rest.max(axis=1, initial=0)
        parts.append(Votes(names, best, scores, second, scored.familiarity, reasons, results))
    empty = np.empty(0)
    return Votes.joined([Votes(names, np.empty(0, np.int64), empty, empty, empty, [], []), *parts])


def classify_stored(flow: Flow, vectors: StoredVectors, hashes: Sequence[str]) -> Iterator[Classification]:
    """Yield the whole results of images by their stored vectors, with supporting neighbors."""
    without_reranker = replace(flow, reranker=None, policy=_policy(flow))
    yield from without_reranker.classify(vectors, [Query(_no_image, content_hash) for content_hash in hashes])


def _policy(flow: Flow) -> ThresholdPolicy:
    return ThresholdPolicy(flow.thresholds, flow.config.allow_unknown, can_rerank=False)


def _no_image() -> Image.Image:
    raise UnreadableImageError("only the vectors are stored")
