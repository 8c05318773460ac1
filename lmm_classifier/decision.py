"""The decision: two doubts, two signals, and the only place where a threshold is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmm_classifier.datatypes import Candidate, Decision, Reranked


@dataclass(frozen=True, slots=True)
class ThresholdPolicy:
    """Accepts, rejects or asks again by two thresholds, both inclusive.

    *Ambiguous* (labels compete) is a confidence below `confidence_threshold`; *novel* (nothing like it) is a nearness
    below `open_set_threshold`. Neither number ever stands in for the other.
    """

    confidence_threshold: float  # 0..1
    open_set_threshold: float  # in units of the nearness: familiarity, or cosine similarity
    allow_unknown: bool = True
    can_rerank: bool = True

    def decide(self, candidates: Sequence[Candidate], nearness: float) -> Decision:
        """Decide on the retrieval vote; `candidates` best first, `nearness` higher for what is better known."""
        novel = not nearness >= self.open_set_threshold or not candidates  # NaN counts as novel
        if novel and (self.allow_unknown or not candidates):
            return Decision("reject", "novel")
        if candidates[0].score >= self.confidence_threshold:
            return Decision("accept", "forced" if novel else "confident")
        if self.can_rerank and len(candidates) > 1:
            return Decision("rerank", "ambiguous")
        return Decision("accept", "forced" if novel else "ambiguous")

    def decide_again(self, reranked: Reranked) -> Decision:
        """Decide once the reranker answered: its choice, or retrieval's where it has none."""
        return Decision("accept", "reranker_failed" if reranked.failure else "reranked")
