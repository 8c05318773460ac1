"""Retrieval's votes, and how the reranker decides the ambiguous ones again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from lmm_classifier.core.arrays import IntArray
from lmm_classifier.core.datatypes import Candidate, Classification, RerankRequest, RerankResult
from lmm_classifier.core.errors import ImageError
from lmm_classifier.core.protocols import DecisionPolicy, Reranker
from lmm_classifier.pipeline.hierarchy.roll_up import RollUp
from lmm_classifier.pipeline.reference_images import NearestOfLabel, ReferenceImages
from lmm_classifier.rerank.benefit import RerankerBenefit
from lmm_classifier.rerank.fusion import Fusion

logger: logging.Logger = logging.getLogger(__name__)

LoadImage = Callable[[], Image.Image]


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """What a request to the reranker needs besides the candidates. It keeps its version of the index open."""

    reranking: Reranking
    load_image: LoadImage  # raises ImageError where the image cannot be read again
    left_out: str | None  # content hash of the examples that the reranker must not use
    references: Sequence[IntArray]  # for each candidate that is asked about, rows of examples to show, the best first


@dataclass(frozen=True, slots=True)
class Vote:
    """The result of retrieval for one image. It is final, or labels compete and the reranker is to be asked."""

    result: Classification
    ambiguity: Ambiguity | None = None  # None: the result is final

    def unanswered(self, reason: str) -> Classification:
        """Return retrieval's result where the reranker gave no answer, with the reason `reranker_failed`."""
        if self.ambiguity is None:
            return self.result
        return self.ambiguity.reranking.decide_again(self.result, RerankResult((), 0.0, reason))

    def unasked(self) -> Classification:
        """Return what retrieval decides where the reranker is not to be asked."""
        return self.result if self.ambiguity is None else self.ambiguity.reranking.decide_alone(self.result)


@dataclass(frozen=True)
class Reranking:
    """The reranker of one version of an index, with what it is asked and how its answers count."""

    reranker: Reranker | None
    benefit: RerankerBenefit | None  # None: not measured, or measured with another reranker
    references: ReferenceImages
    roll_up: RollUp | None  # None: no label has a coarse label above it
    policy: DecisionPolicy

    def vote(
        self, result: Classification, load_image: LoadImage, left_out: str | None, nearest: NearestOfLabel
    ) -> Vote:
        """Return the vote with a result of retrieval; `nearest` finds examples of a label that are near the image."""
        if result.decision.action != "rerank":
            return Vote(result)
        labels = [candidate.label for candidate in self._asked(result)]
        return Vote(result, Ambiguity(self, load_image, left_out, self.references.ranked(nearest, labels)))

    def _asked(self, result: Classification) -> tuple[Candidate, ...]:
        return result.candidates[: self.benefit.candidates if self.benefit else len(result.candidates)]

    def decide(self, votes: Sequence[Vote]) -> list[Classification]:
        """Ask about votes that are all ambiguous, together, and decide them again."""
        results: dict[int, Classification] = {}
        requests: dict[int, RerankRequest] = {}
        for number, vote in enumerate(votes):
            try:
                requests[number] = self._request(vote)
            except ImageError as error:
                results[number] = vote.unanswered(f"the image cannot be read again ({error})")
        for number, answer in zip(requests, self._ask(list(requests.values()))):
            results[number] = self.decide_again(votes[number].result, answer)
        return [results[number] for number in range(len(votes))]

    def _request(self, vote: Vote) -> RerankRequest:
        result, ambiguity = vote.result, vote.ambiguity
        assert ambiguity is not None
        image = ambiguity.load_image()
        references = self.references.read(ambiguity.references)
        return RerankRequest(image, self._asked(result), result.content_hash, ambiguity.left_out, references)

    def _ask(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        """Ask the reranker; any error becomes a failed answer, so that no image is lost."""
        if not requests or self.reranker is None:
            return []
        try:
            return self.reranker.rerank(requests)
        except Exception as error:
            logger.exception("The reranker failed on %d images. Retrieval's answers stand.", len(requests))
            return [RerankResult((), 0.0, f"{type(error).__name__}: {error}")] * len(requests)

    def decide_alone(self, result: Classification) -> Classification:
        """Decide by retrieval's numbers alone."""
        familiarity, similarity = (
            np.nan if value is None else value for value in (result.familiarity, result.similarity)
        )
        decision = self.policy.decide(result.candidates, familiarity, similarity, may_rerank=False)
        return replace(result, decision=decision)

    def decide_again(self, result: Classification, answer: RerankResult) -> Classification:
        """Fuse both answers and order the candidates by it, or keep retrieval's where there is no other."""
        decision = self.policy.decide_again(answer)
        if answer.failure or self.reranker is None:
            logger.warning("The reranker gave no answer: %s", answer.failure)
            return replace(result, decision=decision, error=answer.failure)
        count = len(answer.scores)
        asked = [
            replace(candidate, rerank_score=score)
            for candidate, score in zip(result.candidates[:count], answer.scores, strict=True)
        ]
        fusion = self.benefit.fusion if self.benefit else Fusion(*self.reranker.trust)
        fused = fusion(np.array([candidate.score for candidate in asked]), answer)  # (k,)
        order = np.argsort(-fused, kind="stable")
        again = replace(
            result,
            label=asked[order[0]].label,
            score=float(fused[order[0]]),
            used_reranker=True,
            decision=decision,
            candidates=(*(asked[rank] for rank in order), *result.candidates[count:]),
            disagreement=answer.disagreement,
        )
        return again if self.roll_up is None else self.roll_up.answered(again)


def rerank_votes(votes: Sequence[Vote]) -> list[Classification]:
    """Ask the reranker about the ambiguous votes, those of one version of the index together; return all results."""
    results = [vote.result for vote in votes]
    places: dict[int, list[int]] = {}
    for place, vote in enumerate(votes):
        if vote.ambiguity is not None:
            places.setdefault(id(vote.ambiguity.reranking), []).append(place)
    for of_version in places.values():
        ambiguous = [votes[place] for place in of_version]
        ambiguity = ambiguous[0].ambiguity
        assert ambiguity is not None
        for place, result in zip(of_version, ambiguity.reranking.decide(ambiguous)):
            results[place] = result
    return results
