"""The decision to accept, to call unknown (`reject`) or to rerank; the only place where its thresholds are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmm_classifier.core.datatypes import Candidate, CoarseCandidate, Decision, RerankResult
from lmm_classifier.pipeline.thresholds import Thresholds


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """Accepts, rejects or asks the reranker by two thresholds, both inclusive.

    *Ambiguous* means that labels compete: the confidence is below its threshold. *Novel* means that the image is not
    familiar: its familiarity (or the similarity, see `Thresholds.statistic`) is below its threshold. The result is then
    `unknown`. Neither number stands in for the other.
    """

    thresholds: Thresholds
    allow_unknown: bool = True
    can_rerank: bool = True
    pays_off: Callable[[Sequence[Candidate]], bool] | None = None  # the gate, where the reranker was measured

    def decide(
        self,
        candidates: Sequence[Candidate],
        familiarity: float,
        similarity: float,
        may_rerank: bool = True,
        coarse: Sequence[CoarseCandidate] = (),
    ) -> Decision:
        """Decide by retrieval alone.

        Args:
            candidates: best first.
            familiarity: of the image, in robust standard deviations; higher is more familiar.
            similarity: cosine of the nearest example, -1 to 1.
            may_rerank: whether the reranker may be asked about this image.
            coarse: the best coarse label of each level of the hierarchy, the finest first.
        """
        statistic = familiarity if self.thresholds.statistic == "familiarity" else similarity
        novel = not statistic >= self.thresholds.novelty.value or not candidates  # NaN counts as novel
        if novel and (self.allow_unknown or not candidates):
            return Decision("reject", "novel")
        confident = candidates[0].score >= self.thresholds.confidence.value
        if not confident and self.roll_up(coarse) is not None:
            return Decision("accept", "rolled_up")
        if self.can_rerank and may_rerank and len(candidates) > 1:
            ask = not confident if self.pays_off is None else self.pays_off(candidates)
            if ask:
                return Decision("rerank", "ambiguous")
        if novel:
            return Decision("accept", "forced")
        return Decision("accept", "confident" if confident else "ambiguous")

    def roll_up(self, coarse: Sequence[CoarseCandidate]) -> CoarseCandidate | None:
        """Return the first coarse label whose score reaches the threshold of its level; None where none does."""
        least = self.thresholds.coarse
        return next((found for found in coarse if found.score >= least[len(found.path)].value), None)

    def decide_again(self, reranked: RerankResult) -> Decision:
        """Decide after the reranker: its choice stands, or retrieval's where it gave no answer."""
        return Decision("accept", "reranker_failed" if reranked.failure else "reranked")
