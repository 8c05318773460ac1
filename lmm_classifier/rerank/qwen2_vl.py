"""Qwen2-VL as a reranker in this process: loads the checkpoint and lets one forward pass answer each question."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm_classifier.core.checkpoints import checkpoint_folder, content_digest, quiet_transformers
from lmm_classifier.core.datatypes import Question, Reranked
from lmm_classifier.core.devices import choose_device, choose_dtype
from lmm_classifier.core.errors import LmmClassifierError, RerankerError
from lmm_classifier.core.optional_imports import load, load_module, require
from lmm_classifier.rerank.aggregation import failed, tally
from lmm_classifier.rerank.image_budget import PictureBudget
from lmm_classifier.rerank.next_token import OneForward
from lmm_classifier.rerank.prompts import Asking, Ballot, write_ballots

_EXTRA = "qwen2-vl"


@dataclass(frozen=True, slots=True)
class Qwen2VLOptions:
    """What to load; the meanings are those of the `rerank` section of the configuration."""

    model_name: str
    revision: str | None = None
    cache_dir: Path | None = None
    allow_download: bool = True
    device: str = "auto"
    dtype: str = "auto"
    min_label_mass: float = 0.5
    batch_size: int = 4


class Qwen2VLReranker:
    """Asks a Qwen2-VL checkpoint which of the candidates a picture shows.

    The checkpoint's configuration is read at once, so that a wrong name is told before any work is done; its weights
    are loaded at the first question. Raises RerankerError when the checkpoint cannot be had.
    """

    trust = (1.0, 1.0)  # retrieval's log shares and its own count alike until `calibrate --rerank` measures them

    def __init__(
        self, options: Qwen2VLOptions, asking: Asking | None = None, budget: PictureBudget | None = None
    ) -> None:
        self.options = options
        self.asking = asking or Asking()
        require("torch", _EXTRA)  # they take seconds to import, and most pictures ask nothing
        require("transformers", _EXTRA)
        with self._explained():
            self._folder = checkpoint_folder(
                options.model_name, options.revision, options.cache_dir, options.allow_download, _EXTRA
            )
            config = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
            if config.get("model_type") != "qwen2_vl":
                raise ValueError(f"it is a {config.get('model_type', 'nameless')} model")
            vision = config.get("vision_config", {})
            self._weights = content_digest(self._folder)
        budget = budget or PictureBudget()
        # pixels of one visual token, 28
        side = int(vision.get("patch_size", 14)) * int(vision.get("spatial_merge_size", 2))
        self._budget = PictureBudget(budget.least, budget.most, budget.most_per_request, side)
        self._score: OneForward | None = None

    @property
    def identity(self) -> str:
        """What the answers depend on, apart from the question: weights, number type, wording, sizes."""
        return (
            f"qwen2_vl:{self._weights} {self.options.dtype} {self.options.min_label_mass} {self.asking} {self._budget}"
        )

    @property
    def references(self) -> int:
        """Reference pictures wanted per candidate."""
        return 0 if self.asking.mode == "names" else self.asking.references

    def rerank(self, questions: Sequence[Question]) -> list[Reranked]:
        """Answer each question; answers do not depend on their batch beyond float rounding."""
        if self._score is None:
            self._score = self._load()
        step = self.options.batch_size
        batches = [questions[start : start + step] for start in range(0, len(questions), step)]
        return [answer for batch in batches for answer in self._answer(self._score, batch)]

    def _answer(self, score: OneForward, questions: Sequence[Question]) -> list[Reranked]:
        ballots: list[list[Ballot]] = []
        answers: list[Reranked] = []
        for question in questions:
            try:
                ballots.append([self._budget.fit(one) for one in write_ballots(self.asking, question)])
                answers.append(failed(""))
            except ValueError as error:  # a candidate without a reference, too many options: this question's own fault
                answers.append(failed(str(error)))
        logs = iter(zip(ballots, score(ballots)))
        pairwise, mass = self.asking.mode == "pairwise", self.options.min_label_mass
        return [
            answer if answer.failure else tally(*next(logs), len(question.candidates), mass, pairwise)
            for question, answer in zip(questions, answers)
        ]

    def _load(self) -> OneForward:
        torch = load_module("torch", _EXTRA)
        device = choose_device(torch, self.options.device)
        dtype = choose_dtype(torch, self.options.dtype, device)
        with self._explained():
            tokenizer = self._from_pretrained("Qwen2Tokenizer")
            processor = self._from_pretrained("Qwen2VLImageProcessorPil")
            model = self._from_pretrained("Qwen2VLForConditionalGeneration", dtype=dtype, use_safetensors=True)
        return OneForward(torch, model.to(device).eval(), tokenizer, processor)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the failures of loading into a RerankerError with the ways on."""
        try:
            yield
        except LmmClassifierError:
            raise
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RerankerError(
                f"cannot load {self.options.model_name!r} as Qwen2-VL ({reason}): download it on a machine with a "
                "network and copy the cache (rerank.cache_dir), point rerank.model_name at a local folder, or set "
                "rerank.backend: views or rerank.enabled: false"
            ) from error

    def _from_pretrained(self, name: str, **options: Any) -> Any:
        with quiet_transformers(_EXTRA):
            return load("transformers", name, _EXTRA).from_pretrained(self._folder, local_files_only=True, **options)
