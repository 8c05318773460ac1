"""Open the configured reranker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import MissingExtraError
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.protocols import Reranker
from lmm_classifier.core.settings import Settings
from lmm_classifier.rerank.augmented_views import AugmentedViewsReranker, ScoreLabels
from lmm_classifier.rerank.cache import CachedReranker
from lmm_classifier.rerank.config import RerankConfig
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions
from lmm_classifier.rerank.server_options import ServerOptions


def open_reranker(
    config: RerankConfig,
    score_labels: ScoreLabels,
    index_path: Path | None = None,
    patient: bool = False,
) -> Reranker | None:
    """Open the configured reranker; return None where reranking is disabled.

    Args:
        config: the section `rerank`.
        score_labels: gives retrieval's log-probabilities of labels for images, for test-time augmentation.
        index_path: the answers of a model are stored in a file next to it; None stores none.
        patient: wait as long as it takes for a server that asks to slow down, as a measurement does.

    Raises:
        RerankerError: if the model cannot be loaded.
        MissingExtraError: if a library is not installed; the message names the rerankers that need none.
    """
    if not config.enabled:
        return None
    if config.backend == "views":
        return AugmentedViewsReranker(score_labels)
    try:
        inner = _open_model(config, patient)
    except MissingExtraError as error:
        raise MissingExtraError(
            f"The reranker {config.backend} cannot be opened: {error}. To do without this library, set "
            "rerank.backend: views, or rerank.enabled: false to ask no reranker."
        ) from error
    if config.cache == "off" or index_path is None:
        return inner
    return CachedReranker(inner, index_path.with_suffix(".answers.sqlite"), config.cache_entries)


def _open_model(config: RerankConfig, patient: bool) -> Reranker:
    prompt = config.prompt
    prompt_options = _filled(PromptOptions, prompt, prompt_template=config.prompt_template)
    budget = VisualTokenBudget(prompt.min_visual_tokens, prompt.max_visual_tokens, prompt.max_request_tokens)
    if config.backend == "openai_api":
        module = import_optional("lmm_classifier.rerank.openai_api", "openai-api")
        server = _filled(ServerOptions, config.server, model_name=config.model_name, patient=patient)
        remote: Reranker = module.OpenAIReranker(
            server, prompt_options, budget, prompt.min_option_mass, config.model.revision
        )
        return remote
    module = import_optional("lmm_classifier.rerank.vlm", "vlm")
    model = _filled(
        module.VlmOptions, config.model, model_name=config.model_name, min_option_mass=prompt.min_option_mass
    )
    local: Reranker = module.VlmReranker(model, prompt_options, budget)
    return local


def _filled(options: Any, section: Settings, **values: object) -> Any:
    """Create the dataclass `options` from the settings of the same names, and from `values`."""
    names = set(options.__dataclass_fields__) - set(values)
    return options(**section.model_dump(include=names), **values)
