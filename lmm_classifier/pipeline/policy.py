"""The decision: two doubts, two signals, and the only place where a threshold is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmm_classifier.core.datatypes import Candidate, Decision, Reranked


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """Accepts, rejects or asks again by two thresholds, both inclusive.

    *Ambiguous* (labels compete) is a confidence below `confidence_threshold`; *novel* (nothing like it) is a nearness
    below `open_set_threshold`. Neither number ever stands in for the other. Where a second look was measured on the
    corpus, `worth_asking` takes the place of the first threshold in choosing whom to ask about.
    """

    confidence_threshold: float  # 0..1
    open_set_threshold: float  # in units of the nearness: familiarity, or cosine similarity
    allow_unknown: bool = True
    can_rerank: bool = True
    worth_asking: Callable[[Sequence[Candidate]], bool] | None = None

    def decide(self, candidates: Sequence[Candidate], nearness: float) -> Decision:
        """Decide on the retrieval vote; `candidates` best first, `nearness` higher for what is better known."""
        novel = not nearness >= self.open_set_threshold or not candidates  # NaN counts as novel
        if novel and (self.allow_unknown or not candidates):
            return Decision("reject", "novel")
        confident = candidates[0].score >= self.confidence_threshold
        if self.can_rerank and len(candidates) > 1:
            ask = not confident if self.worth_asking is None else self.worth_asking(candidates)
            if ask:
                return Decision("rerank", "ambiguous")
        if novel:
            return Decision("accept", "forced")
        return Decision("accept", "confident" if confident else "ambiguous")

    def decide_again(self, reranked: Reranked) -> Decision:
        """Decide once the reranker answered: its choice, or retrieval's where it has none."""
        return Decision("accept", "reranker_failed" if reranked.failure else "reranked")
