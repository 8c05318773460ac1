"""What an index says of images, without the reranker: the numbers by which images are chosen and grouped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.datatypes import Candidate
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.pipeline.policy import ThresholdPolicy
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors


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
    def nothing(cls, flow: Flow) -> Votes:
        """Return the votes on no image."""
        empty = np.empty(0)
        return cls(flow.index.label_names, np.empty(0, np.int64), empty, empty, empty, [], [])

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


def vote(flow: Flow, vectors: QueryVectors) -> Votes:
    """Vote on images by their vectors; each has one of every encoder that is asked first."""
    policy = policy_without_reranker(flow)
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
    return Votes.joined([Votes.nothing(flow), *parts])


def policy_without_reranker(flow: Flow) -> ThresholdPolicy:
    """Return the policy of a flow that never asks its reranker."""
    return ThresholdPolicy(flow.thresholds, flow.config.allow_unknown, can_rerank=False)
