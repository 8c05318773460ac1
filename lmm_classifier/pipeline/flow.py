"""The way of one image after the encoder: similarities, scores, decision, reranker where it pays, decision again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from PIL import Image

from lmm_classifier.calibration.conformal import prediction_set
from lmm_classifier.calibration.loading import stored_request
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.datatypes import Candidate, Classification, CoarseCandidate
from lmm_classifier.core.errors import ConfigError, ImageError
from lmm_classifier.core.index_location import path_of
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.core.labels import unknown_clash
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.core.protocols import DecisionPolicy, Encoder, Reranker
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.hierarchy.opening import open_hierarchy
from lmm_classifier.pipeline.hierarchy.roll_up import RollUp
from lmm_classifier.pipeline.label_scorer import LabelScorer
from lmm_classifier.pipeline.policy import ThresholdPolicy
from lmm_classifier.pipeline.reference_images import ReferenceImages
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retrieval_scores import RetrievalScores
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.slow_start import SlowStart
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions
from lmm_classifier.pipeline.stages.reranking import Reranking, Vote, rerank_votes
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.rerank.benefit import RerankerBenefit
from lmm_classifier.rerank.registry import open_reranker

logger: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Query:
    """An image that was encoded. Its pixels are loaded again only for the few that the reranker is asked about.

    `load_image` returns upright RGB pixels; it raises ImageError where the file has changed or is missing.
    """

    load_image: Callable[[], Image.Image]
    content_hash: str = ""
    options: AnswerOptions = ANY


@dataclass(frozen=True)
class Flow:
    """One version of an index with everything that decides by it."""

    config: PipelineConfig
    retriever: Retriever
    thresholds: Thresholds
    policy: ThresholdPolicy
    reranker: Reranker | None
    reranker_benefit: RerankerBenefit | None  # None: not measured, or measured with another reranker
    references: ReferenceImages
    adaptations: tuple[str, ...] = ()  # to new images, as results name them
    hierarchy: LabelHierarchy | None = None  # in use, perhaps with labels that have no examples
    roll_up: RollUp | None = None  # None: no label has a coarse label above it

    @classmethod
    def open(
        cls,
        config: PipelineConfig,
        encoders: Sequence[Encoder],
        indexes: Sequence[Index],
        former: Flow | None = None,
        progress: ProgressCallback | None = None,
        carry: bool = False,
    ) -> Flow:
        """Open everything that depends on the examples.

        Args:
            config: the settings.
            encoders: all configured encoders.
            indexes: the examples, with the vectors of each of them.
            former: the flow of another version of the same index: what is costly to open and does not depend on the
                examples is reused.
            progress: called while rules are fitted; by default a slow start is logged.
            carry: go on with a fit of `former` that is not stored, while few examples changed.
        """
        index = indexes[0]
        if progress is None and former is None:  # a change of the index is no start
            progress = SlowStart(config.labels is not None)
        former_retriever = former.retriever if former else None
        retriever = Retriever.open(config.retrieval, indexes, config.labels, former_retriever, progress, carry)
        if message := unknown_clash(retriever.index.label_names, config.unknown_label):
            raise ConfigError(f"Index {config.retrieval.index_path}: {message}")
        request = stored_request(index.contents)
        thresholds = Thresholds.resolve(config.retrieval, retriever.calibration, retriever.stored, request)
        stored = retriever.stored
        former_hierarchy, renamed = former.hierarchy if former else None, stored.renamed if stored else None
        hierarchy = open_hierarchy(config, index.contents, renamed, former_hierarchy)
        former_roll_up = former.roll_up if former else None
        roll_up = RollUp.of(hierarchy, stored, index.label_names, retriever.index.label_names, former_roll_up)
        if roll_up is not None:
            thresholds = thresholds.with_coarse(roll_up.thresholds, stored)
        if former is not None and config.rerank.backend != "views":
            reranker = former.reranker  # a model knows nothing of the examples
        else:
            scorer = LabelScorer(encoders, retriever, config.batch_size)
            reranker = open_reranker(config.rerank, scorer, path_of(config.retrieval.index_path))
        benefit = _measured_benefit(retriever.stored.reranker_benefit if retriever.stored else None, reranker, config)
        wanted = reranker.references if reranker else 0
        references = ReferenceImages([e.index for e in retriever.encoders], wanted, config.images.limits)
        policy = ThresholdPolicy(
            thresholds,
            allow_unknown=config.allow_unknown,
            can_rerank=reranker is not None,
            pays_off=benefit.pays_off if benefit and config.rerank.gate.mode == "measured" else None,
        )
        of_labels = hierarchy, roll_up
        return cls(config, retriever, thresholds, policy, reranker, benefit, references, (), *of_labels)

    @property
    def index(self) -> Index:
        """Return the examples that are searched."""
        return self.retriever.index

    def with_retriever(self, retriever: Retriever, thresholds: Thresholds, encoders: Sequence[Encoder]) -> Flow:
        """Return a flow over the same examples that scores and decides by others."""
        reranker, config = self.reranker, self.config
        if config.rerank.backend == "views":  # it scores by retrieval
            scorer = LabelScorer(encoders, retriever, config.batch_size)
            reranker = open_reranker(config.rerank, scorer, path_of(config.retrieval.index_path))
        policy = replace(self.policy, thresholds=thresholds)
        return replace(self, retriever=retriever, thresholds=thresholds, policy=policy, reranker=reranker)

    @cached_property
    def _rerankings(self) -> dict[bool | None, Reranking]:
        """Return what decides, also by the reranker, for each `AnswerOptions.allow_unknown`."""
        parts, policy = (self.reranker, self.reranker_benefit, self.references, self.roll_up), self.policy
        own, other = policy.allow_unknown, not policy.allow_unknown
        of_own = Reranking(*parts, policy)
        return {None: of_own, own: of_own, other: Reranking(*parts, replace(policy, allow_unknown=other))}

    def warm_up(self) -> None:
        """Compute now what the first image would have to wait for, such as the mean of each label."""
        vectors = [np.eye(1, encoder.index.fingerprint.dim, dtype=np.float32) for encoder in self.retriever.encoders]
        for encoder, vector in zip(self.retriever.encoders, vectors):
            encoder.score(vector, [])
        self.vote(QueryVectors.given(*vectors), [Query(no_pixels)])

    def classify(
        self, vectors: QueryVectors, queries: Sequence[Query], leave_out: bool = False
    ) -> list[Classification]:
        """Classify encoded images: score, decide, and for ambiguous ones rerank and decide again.

        Args:
            vectors: of the n images, by each encoder.
            queries: the n images, in the same order.
            leave_out: ignore examples with the content of the query (leave-one-out).
        """
        return [
            result for votes in self._votes_in_batches(vectors, queries, leave_out) for result in rerank_votes(votes)
        ]

    def vote(self, vectors: QueryVectors, queries: Sequence[Query], leave_out: bool = False) -> list[Vote]:
        """Do the same without the reranker: an ambiguous vote holds what is needed to ask it later."""
        return [vote for votes in self._votes_in_batches(vectors, queries, leave_out) for vote in votes]

    def _votes_in_batches(
        self, vectors: QueryVectors, queries: Sequence[Query], leave_out: bool
    ) -> Iterator[list[Vote]]:
        left_out = [query.content_hash if leave_out else None for query in queries]
        for part, scored in self.retriever.score_in_batches(vectors, left_out):
            probabilities = scored.probabilities  # (n, C)
            for row, query in enumerate(queries[part]):
                if query.options.labels is not None:
                    probabilities[row] = query.options.allowed(scored.log_probabilities[row], self.index.label_names)
            order = np.argsort(-probabilities, axis=1, kind="stable")
            candidates = self._candidates(scored, probabilities, order)
            coarse = self.roll_up.candidates(probabilities) if self.roll_up else [()] * len(probabilities)
            asked = self._encoders_asked(scored)
            votes = []
            for row, query in enumerate(queries[part]):
                options, reranking = query.options, self._rerankings[query.options.allow_unknown]
                # that a set holds the true label is said of all labels
                labels = self._prediction_set(probabilities[row], order[row]) if options.labels is None else None
                rolled = coarse[row] if options.labels is None else ()  # a coarse label is none of those asked for
                result = self._decide(reranking.policy, scored, row, candidates[row], labels, rolled)
                result = replace(result, content_hash=query.content_hash or None, encoders=asked[row])
                result = self._detailed(result, options, probabilities[row], order[row], vectors, part.start + row)
                nearest = partial(scored.nearest_of_label, row)
                votes.append(reranking.vote(result, query.load_image, left_out[part][row], nearest))
            yield votes

    def _detailed(
        self,
        result: Classification,
        options: AnswerOptions,
        probabilities: Float64Array,
        order: IntArray,
        vectors: QueryVectors,
        row: int,
    ) -> Classification:
        """Add the probabilities of all labels, and the vector, where the options ask for them."""
        if options.all_labels:
            names = self.index.label_names
            every = {names[label]: float(probabilities[label]) for label in order.tolist()}
            result = replace(result, probabilities=every)
        return replace(result, vector=vectors.known[min(vectors.known)][row].copy()) if options.vector else result

    def _candidates(
        self, scored: RetrievalScores, probabilities: Float64Array, order: IntArray
    ) -> list[tuple[Candidate, ...]]:
        """Return per query the most probable labels, best first, each with its nearest examples."""
        settings = self.config.retrieval
        chosen = [
            (query, label)
            for query, labels in enumerate(order[:, : settings.candidates].tolist())
            for label in labels
            if probabilities[query, label] > 0
        ]
        nearest, cosines = scored.nearest_among(
            chosen, self.retriever.encoders[0].rows_of_each, settings.neighbors_per_label
        )
        encoders = self.retriever.names
        candidates: list[list[Candidate]] = [[] for _ in probabilities]
        for (query, label), rows, similarities in zip(chosen, nearest, cosines):
            exists = rows >= 0
            neighbors = tuple(self.index.neighbors(rows[exists], similarities[exists]))
            name = self.index.label_names[label]
            encoder = encoders[scored.strongest[query, label]] if len(encoders) > 1 else None
            candidate = Candidate(name, float(probabilities[query, label]), neighbors, encoder=encoder)
            candidates[query].append(candidate)
        return [tuple(labels) for labels in candidates]

    def _encoders_asked(self, scored: RetrievalScores) -> list[tuple[str, ...]]:
        """Return for each image the names of the encoders that were asked; none where there is only one."""
        names, stages = self.retriever.names, self.retriever.calibration.cascade.stages
        if len(names) == 1:
            return [()] * len(scored.stage)
        return [tuple(names[place] for place in stages[number].encoders) for number in scored.stage]

    def _prediction_set(self, probabilities: Float64Array, order: IntArray) -> tuple[str, ...] | None:
        if self.thresholds.prediction_set is None:
            return None
        return prediction_set(probabilities, order, self.thresholds.prediction_set.value, self.index.label_names)

    def _decide(
        self,
        policy: DecisionPolicy,
        scored: RetrievalScores,
        row: int,
        candidates: tuple[Candidate, ...],
        labels: tuple[str, ...] | None,
        coarse: tuple[CoarseCandidate, ...],
    ) -> Classification:
        familiarity, nearest = float(scored.familiarity[row]), float(scored.nearest[row])
        decision = policy.decide(candidates, familiarity, nearest, coarse=coarse)
        result = Classification(
            label=self.config.unknown_label if decision.action == "reject" else candidates[0].label,
            score=candidates[0].score if candidates else 0.0,
            used_reranker=False,
            decision=decision,
            candidates=candidates,
            similarity=nearest if np.isfinite(nearest) else None,  # all examples may be left out
            familiarity=familiarity if candidates else None,
            prediction_set=labels,
            adaptations=self.adaptations,
        )
        if self.roll_up is None:
            return result
        return self.roll_up.answered(result, policy.roll_up(coarse) if decision.reason == "rolled_up" else None)


def _measured_benefit(
    benefit: RerankerBenefit | None, reranker: Reranker | None, config: PipelineConfig
) -> RerankerBenefit | None:
    """Return what was measured, if it was measured with this very reranker."""
    if benefit is None or reranker is None:
        return None
    if benefit.identity != reranker.identity:
        logger.warning(
            "The benefit of reranking was measured with another reranker, model or prompt, so it is not used. "
            "Measure the reranker again."
        )
        return None
    if not benefit.outcomes.pays and config.rerank.gate.mode == "measured":
        gain, error = benefit.outcomes.net_percent
        logger.info("Reranking is off: its net gain on this dataset was %+.2f ± %.2f points.", gain, error)
    return benefit


def no_pixels() -> Image.Image:
    """Raise ImageError: only a vector is there."""
    raise ImageError("expected no use of the pixels of a vector")
