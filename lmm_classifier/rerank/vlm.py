"""A vision-language model as a reranker in this process: loads a checkpoint, and answers with forward passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lmm_classifier.core.checkpoints import checkpoint_digest, read_config, resolve_checkpoint
from lmm_classifier.core.datatypes import RerankRequest, RerankResult
from lmm_classifier.core.devices import is_out_of_memory
from lmm_classifier.core.errors import LmmClassifierError, MissingExtraError, RerankerError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.optional_imports import import_optional, require_optional
from lmm_classifier.core.reopening import Reopened
from lmm_classifier.core.text import first_line
from lmm_classifier.rerank.aggregation import aggregate, failed
from lmm_classifier.rerank.image_budget import TOKEN_SIDE, VisualTokenBudget
from lmm_classifier.rerank.prompts import PromptOptions, PromptVariant, make_prompts
from lmm_classifier.rerank.self_check import Scorer, checked_scorer
from lmm_classifier.rerank.shared_prefix import SharedPrefixScorer, can_share
from lmm_classifier.rerank.vlm_checkpoint import (
    EXTRA,
    check_type,
    load_model,
    load_processor,
    open_device,
    require_quantization,
    token_side,
)
from lmm_classifier.rerank.whole_forward import WholeForwardScorer

_ELSEWHERE = (
    "Download it on a machine with a network and copy the cache (rerank.model.cache_dir), set rerank.model_name to a "
    "local folder, or set rerank.backend: views or rerank.enabled: false."
)
_AGAIN = (
    "Copy or download its files again, set rerank.model_name to another model, or set rerank.backend: views or "
    "rerank.enabled: false."
)
_OTHER = "Set rerank.model_name to another model, rerank.model.device to another device, or rerank.backend: views."
_TOO_LARGE = "Set rerank.model_name to a smaller or a quantized checkpoint, or set rerank.backend: views."


@dataclass(frozen=True, slots=True)
class VlmOptions:
    """What to load; the fields mean the same as in the `rerank` section of the configuration."""

    model_name: str
    revision: str | None = None
    cache_dir: Path | None = None
    allow_download: bool = True
    device: str = "auto"
    dtype: str = "auto"
    min_option_mass: float = 0.5
    batch_size: int = 4


class VlmReranker(Reopened):
    """Asks a vision-language checkpoint which of the candidates an image shows.

    The configuration of the checkpoint is read at once, so that a wrong name fails before any work is done. The weights
    are loaded at the first request. If that fails, they are not loaded again: each further request fails at once.

    Args:
        options: what to load.
        prompt_options: how to ask.
        budget: limits on visual tokens; the side of a token comes from the checkpoint.

    Raises:
        RerankerError: if the checkpoint cannot be loaded.
        MissingExtraError: if a library is missing, also one that its quantized weights need.
    """

    trust: tuple[float, float] = (1.0, 1.0)  # equal weights until `calibrate --rerank` measures them

    def __init__(
        self,
        options: VlmOptions,
        prompt_options: PromptOptions | None = None,
        budget: VisualTokenBudget | None = None,
    ) -> None:
        self.options = options
        self.prompt_options: PromptOptions = prompt_options or PromptOptions()
        for library in ("torch", "transformers", "accelerate"):
            require_optional(library, EXTRA)  # importing them takes seconds, and a run may never need the reranker
        with self._explained():
            self._folder = resolve_checkpoint(
                options.model_name, options.revision, options.cache_dir, options.allow_download, EXTRA
            )
        with self._explained(advice=_AGAIN):
            self._config = read_config(self._folder)
            check_type(self._config)
            side = token_side(self._config)
            require_quantization(self._config)
            self._checkpoint = checkpoint_digest(self._folder)
        self._budget = replace(budget or VisualTokenBudget(), side=side or TOKEN_SIDE, whole=side is not None)
        self._scorer: Scorer | LmmClassifierError | None = None  # or why there is none
        self._turn = ForkSafeLock()  # the weights are loaded once, and memory holds one batch

    @property
    def identity(self) -> str:
        """Names all that an answer depends on besides the request: checkpoint, number type, prompts, image sizes."""
        model = f"{self._checkpoint} {self.options.dtype} {self.options.min_option_mass}"
        return f"vlm:{model} {self.prompt_options} {self._budget}"

    @property
    def references(self) -> int:
        """Number of reference images per candidate that a request should hold."""
        return 0 if self.prompt_options.mode == "names" else self.prompt_options.references

    def rerank(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        """Answer each request; an answer does not depend on its batch beyond float rounding."""
        with self._turn:
            score = self._open()
            step = self.options.batch_size
            batches = [requests[start : start + step] for start in range(0, len(requests), step)]
            return [answer for batch in batches for answer in self._answer(score, batch)]

    def _open(self) -> Scorer:
        """Return what scores prompts; an error of the first attempt is raised again without another one."""
        if self._scorer is None:
            try:
                self._scorer = self._load()
            except LmmClassifierError as error:
                self._scorer = type(error)(*error.args)  # a copy: the traceback would hold what was loaded in memory
                raise
        if isinstance(self._scorer, LmmClassifierError):
            raise type(self._scorer)(*self._scorer.args)
        return self._scorer

    def _answer(self, score: Scorer, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        prompts: list[list[PromptVariant]] = []
        answers: list[RerankResult] = []
        for request in requests:
            try:
                prompts.append([self._budget.fit(prompt) for prompt in make_prompts(self.prompt_options, request)])
                answers.append(failed(""))
            except ValueError as error:  # a candidate without a reference, or too many options: only this one fails
                answers.append(failed(str(error)))
        try:
            logs = iter(zip(prompts, score(prompts)))
        except RerankerError as error:  # one of them cannot be asked, or not in this memory
            if len(requests) == 1:
                return [failed(str(error))]
            return [answer for request in requests for answer in self._answer(score, [request])]
        pairwise, mass = self.prompt_options.mode == "pairwise", self.options.min_option_mass
        return [
            answer if answer.failure else aggregate(*next(logs), len(request.candidates), mass, pairwise)
            for request, answer in zip(requests, answers)
        ]

    def _load(self) -> Scorer:
        with self._explained(advice=_AGAIN):
            torch = import_optional("torch", EXTRA)
            kind, side = self._config["model_type"], token_side(self._config)
            processor = load_processor(self._folder, kind)
            device = open_device(torch, self.options.device)
            model = load_model(torch, self._folder, self._config, device, self.options.dtype)
            whole = WholeForwardScorer(torch, model, processor, resized=side is not None)
            shared = SharedPrefixScorer(torch, model, processor) if can_share(model.config) else None
        with self._explained("was loaded, but fails on a drawn question", _OTHER):
            return checked_scorer(whole, shared, self.prompt_options, self._budget, self.options.min_option_mass)

    @contextmanager
    def _explained(self, what: str = "cannot be loaded as a vision-language model", advice: str = "") -> Iterator[None]:
        """Turn any failure into a RerankerError that says what happened and what to do."""
        try:
            yield
        except LmmClassifierError:
            raise
        except ImportError as error:  # of transformers, whose message says what to install
            raise MissingExtraError(f"{self.options.model_name!r} {what}: {first_line(error)}") from error
        except Exception as error:
            advice = _TOO_LARGE if is_out_of_memory(error) else advice or _ELSEWHERE
            reason = first_line(error).rstrip(".")
            raise RerankerError(f"{self.options.model_name!r} {what}: {reason}. {advice}") from error
