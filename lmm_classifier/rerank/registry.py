"""Opens the configured reranker."""

from __future__ import annotations

from pathlib import Path

from lmm_classifier.core.optional_imports import load
from lmm_classifier.core.protocols import Reranker
from lmm_classifier.rerank.augmented_views import ScoreLabels, ViewsReranker
from lmm_classifier.rerank.cache import CachedReranker
from lmm_classifier.rerank.config import RerankConfig
from lmm_classifier.rerank.image_budget import PictureBudget
from lmm_classifier.rerank.prompts import Asking


def open_reranker(
    config: RerankConfig, score_labels: ScoreLabels, temperature: float, index_path: Path | None = None
) -> Reranker | None:
    """Open the configured reranker; None when it is switched off.

    `score_labels` and `temperature` are retrieval's own, for the reranker that looks again with the same encoder.
    A model's answers are kept in a file beside `index_path`.
    """
    if not config.enabled:
        return None
    if config.backend == "views":
        return ViewsReranker(score_labels, temperature)
    inner = _open_model(config)
    if config.cache == "off" or index_path is None:
        return inner
    return CachedReranker(inner, index_path.with_suffix(".answers.sqlite"), config.cache_entries)


def _open_model(config: RerankConfig) -> Reranker:
    asking = Asking(**config.model_dump(include=set(Asking.__dataclass_fields__)))
    budget = PictureBudget(config.min_visual_tokens, config.max_visual_tokens, config.max_request_tokens)
    if config.backend == "openai_api":
        server = load("lmm_classifier.rerank.openai_api", "ServerOptions", "openai-api")
        options = server(**config.model_dump(include=set(server.__dataclass_fields__)))
        open_server = load("lmm_classifier.rerank.openai_api", "OpenAIReranker", "openai-api")
        behind: Reranker = open_server(options, asking, budget, config.min_label_mass, config.revision)
        return behind
    options = load("lmm_classifier.rerank.qwen2_vl", "Qwen2VLOptions", "qwen2-vl")
    inside: Reranker = load("lmm_classifier.rerank.qwen2_vl", "Qwen2VLReranker", "qwen2-vl")(
        options(**config.model_dump(include=set(options.__dataclass_fields__))), asking, budget
    )
    return inside
