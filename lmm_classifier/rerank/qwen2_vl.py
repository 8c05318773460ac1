"""Qwen2-VL as a reranker in this process: loads the checkpoint and answers each request with forward passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm_classifier.core.checkpoints import checkpoint_digest, quiet_transformers, read_config, resolve_checkpoint
from lmm_classifier.core.datatypes import RerankRequest, RerankResult
from lmm_classifier.core.devices import choose_device, choose_dtype
from lmm_classifier.core.errors import LmmClassifierError, RerankerError
from lmm_classifier.core.optional_imports import import_attribute, import_optional, require_optional
from lmm_classifier.core.reopening import Reopened
from lmm_classifier.rerank.aggregation import aggregate, failed
from lmm_classifier.rerank.image_budget import VisualTokenBudget
from lmm_classifier.rerank.next_token import NextTokenScorer
from lmm_classifier.rerank.prompts import PromptOptions, PromptVariant, make_prompts

_EXTRA = "qwen2-vl"


@dataclass(frozen=True, slots=True)
class Qwen2VLOptions:
    """What to load; the fields mean the same as in the `rerank` section of the configuration."""

    model_name: str
    revision: str | None = None
    cache_dir: Path | None = None
    allow_download: bool = True
    device: str = "auto"
    dtype: str = "auto"
    min_option_mass: float = 0.5
    batch_size: int = 4


class Qwen2VLReranker(Reopened):
    """Asks a Qwen2-VL checkpoint which of the candidates an image shows.

    The configuration of the checkpoint is read at once, so that a wrong name fails before any work is done. The weights
    are loaded at the first request.

    Args:
        options: what to load.
        prompt_options: how to ask.
        budget: limits on visual tokens; the side of a token comes from the checkpoint.

    Raises:
        RerankerError: if the checkpoint cannot be loaded.
    """

    trust = (1.0, 1.0)  # equal weights until `calibrate --rerank` measures them

    def __init__(
        self,
        options: Qwen2VLOptions,
        prompt_options: PromptOptions | None = None,
        budget: VisualTokenBudget | None = None,
    ) -> None:
        self.options = options
        self.prompt_options = prompt_options or PromptOptions()
        require_optional("torch", _EXTRA)  # importing them takes seconds, and a run may never need the reranker
        require_optional("transformers", _EXTRA)
        with self._explained():
            self._folder = resolve_checkpoint(
                options.model_name, options.revision, options.cache_dir, options.allow_download, _EXTRA
            )
            config = read_config(self._folder)
            if config.get("model_type") != "qwen2_vl":
                raise ValueError(f"its model_type is {config.get('model_type')!r}, expected 'qwen2_vl'")
            side = _token_side(config.get("vision_config", {}))
            self._checkpoint = checkpoint_digest(self._folder)
        budget = budget or VisualTokenBudget()
        self._budget = VisualTokenBudget(budget.least, budget.most, budget.most_per_request, side)
        self._score: NextTokenScorer | None = None

    @property
    def identity(self) -> str:
        """Names all that an answer depends on besides the request: checkpoint, number type, prompts, image sizes."""
        model = f"{self._checkpoint} {self.options.dtype} {self.options.min_option_mass}"
        return f"qwen2_vl:{model} {self.prompt_options} {self._budget}"

    @property
    def references(self) -> int:
        """Number of reference images per candidate that a request should hold."""
        return 0 if self.prompt_options.mode == "names" else self.prompt_options.references

    def rerank(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        """Answer each request; an answer does not depend on its batch beyond float rounding."""
        if self._score is None:
            self._score = self._load()
        step = self.options.batch_size
        batches = [requests[start : start + step] for start in range(0, len(requests), step)]
        return [answer for batch in batches for answer in self._answer(self._score, batch)]

    def _answer(self, score: NextTokenScorer, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        prompts: list[list[PromptVariant]] = []
        answers: list[RerankResult] = []
        for request in requests:
            try:
                prompts.append([self._budget.fit(prompt) for prompt in make_prompts(self.prompt_options, request)])
                answers.append(failed(""))
            except ValueError as error:  # a candidate without a reference, or too many options: only this one fails
                answers.append(failed(str(error)))
        logs = iter(zip(prompts, score(prompts)))
        pairwise, mass = self.prompt_options.mode == "pairwise", self.options.min_option_mass
        return [
            answer if answer.failure else aggregate(*next(logs), len(request.candidates), mass, pairwise)
            for request, answer in zip(requests, answers)
        ]

    def _load(self) -> NextTokenScorer:
        torch = import_optional("torch", _EXTRA)
        device = choose_device(torch, self.options.device)
        dtype = choose_dtype(torch, self.options.dtype, device)
        with self._explained():
            tokenizer = self._from_pretrained("Qwen2Tokenizer")
            processor = self._from_pretrained("Qwen2VLImageProcessorPil")
            model = self._from_pretrained("Qwen2VLForConditionalGeneration", dtype=dtype, use_safetensors=True)
        return NextTokenScorer(torch, model.to(device).eval(), tokenizer, processor)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn any failure to load into a RerankerError that says what to do."""
        try:
            yield
        except LmmClassifierError:
            raise
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RerankerError(
                f"Cannot load {self.options.model_name!r} as Qwen2-VL: {reason}. Download it on a machine with a "
                "network and copy the cache (rerank.model.cache_dir), set rerank.model_name to a local folder, or set "
                "rerank.backend: views or rerank.enabled: false."
            ) from error

    def _from_pretrained(self, name: str, **options: Any) -> Any:
        with quiet_transformers(_EXTRA):
            return import_attribute("transformers", name, _EXTRA).from_pretrained(
                self._folder, local_files_only=True, **options
            )


def _token_side(vision: Any) -> int:
    """Return the side in pixels of a visual token by the configuration of a vision tower; 28 for Qwen2-VL."""
    sizes = [vision.get("patch_size", 14), vision.get("spatial_merge_size", 2)] if isinstance(vision, dict) else []
    if not sizes or not all(type(size) is int and 1 <= size <= 1024 for size in sizes):
        raise ValueError("the vision_config of its config.json has no usable patch_size and spatial_merge_size")
    return math.prod(sizes)
