"""Rerankers: a second look at pictures whose labels compete."""

from __future__ import annotations

from lmm_classifier.config import RerankConfig
from lmm_classifier.lazy import load
from lmm_classifier.protocols import Reranker
from lmm_classifier.rerank.views import ScoreLabels, ViewsReranker


def open_reranker(config: RerankConfig, score_labels: ScoreLabels, temperature: float) -> Reranker | None:
    """Open the configured reranker; None when it is switched off.

    `score_labels` and `temperature` are retrieval's own, for the reranker that looks again with the same encoder.
    """
    if not config.enabled:
        return None
    if config.backend == "views":
        return ViewsReranker(score_labels, temperature)
    options = load("lmm_classifier.rerank.qwen2_vl", "Qwen2VLOptions", "qwen2-vl")
    reranker: Reranker = load("lmm_classifier.rerank.qwen2_vl", "Qwen2VLReranker", "qwen2-vl")(
        options(**config.model_dump(exclude={"enabled", "backend"}))
    )
    return reranker
