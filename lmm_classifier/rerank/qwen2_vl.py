"""Qwen2-VL as a reranker, in this process: one forward pass over a multiple-choice question, no text to parse.

The probabilities of the option letters as the next token are the answer (Qwen2-VL: arXiv 2409.12191).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from PIL import Image

from lmm_classifier.checkpoint import checkpoint_folder, quiet_transformers
from lmm_classifier.datatypes import Question, Reranked
from lmm_classifier.errors import LmmClassifierError, RerankerError
from lmm_classifier.lazy import load, load_module
from lmm_classifier.prompt_template import DEFAULT_PROMPT_TEMPLATE
from lmm_classifier.rerank.prompts import question as fill
from lmm_classifier.torch_device import choose_device, choose_dtype

_EXTRA = "qwen2-vl"
_MAX_ASPECT = 100  # a longer side is squeezed to this ratio; the model accepts up to 200
# the chat format that Qwen2-VL was trained on
_BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
_AFTER = "<|im_end|>\n<|im_start|>assistant\n"
_PAD = "<|image_pad|>"


@dataclass(frozen=True, slots=True)
class Qwen2VLOptions:
    """What to load and how to ask; the meanings are those of the `rerank` section of the configuration."""

    model_name: str
    revision: str | None = None
    cache_dir: Path | None = None
    allow_download: bool = True
    device: str = "auto"
    dtype: str = "auto"
    prompt_template: str = DEFAULT_PROMPT_TEMPLATE
    min_visual_tokens: int = 64
    max_visual_tokens: int = 1024
    min_label_mass: float = 0.5
    batch_size: int = 4


class Qwen2VLReranker:
    """Asks a Qwen2-VL checkpoint which of the candidates a picture shows.

    The checkpoint's configuration is read at once, so that a wrong name is told before any work is done; its weights
    are loaded at the first question. Raises RerankerError when the checkpoint cannot be had.
    """

    def __init__(self, options: Qwen2VLOptions) -> None:
        self.options = options
        self._torch = load_module("torch", _EXTRA)
        load_module("transformers", _EXTRA)
        with self._explained():
            self._folder = checkpoint_folder(
                options.model_name, options.revision, options.cache_dir, options.allow_download, _EXTRA
            )
            self._config = self._from_pretrained("Qwen2VLConfig")
            if self._config.model_type != "qwen2_vl":
                raise ValueError(f"it is a {self._config.model_type} model")
        self._model: Any = None

    def rerank(self, questions: Sequence[Question]) -> list[Reranked]:
        """Answer each question; answers do not depend on their batch beyond float rounding."""
        if self._model is None:
            self._load()
        step = self.options.batch_size
        batches = [questions[start : start + step] for start in range(0, len(questions), step)]
        return [answer for batch in batches for answer in self._ask(batch)]

    def _load(self) -> None:
        torch = self._torch
        device = choose_device(torch, self.options.device)
        dtype = choose_dtype(torch, self.options.dtype, device)
        with self._explained():
            self._tokenizer = self._from_pretrained("Qwen2Tokenizer", padding_side="left")
            self._processor = self._from_pretrained("Qwen2VLImageProcessorPil")
            model = self._from_pretrained("Qwen2VLForConditionalGeneration", dtype=dtype, use_safetensors=True)
            self._model = model.to(device).eval()
        self._letters = [self._single_token(letter) for letter in ascii_uppercase]

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

    def _single_token(self, letter: str) -> int:
        tokens = self._tokenizer(letter, add_special_tokens=False)["input_ids"]
        if len(tokens) != 1:
            raise RerankerError(f"the tokenizer of {self.options.model_name} has no single token for {letter!r}")
        return int(tokens[0])

    def _ask(self, questions: Sequence[Question]) -> list[Reranked]:
        torch = self._torch
        with torch.inference_mode():
            logits = self._model(**self._inputs(questions), logits_to_keep=1).logits[:, -1]  # (n, vocabulary)
            log_probabilities = logits.float().log_softmax(-1)[:, self._letters].cpu().numpy()  # (n, 26)
        return [
            self._answer(row[: len(question.candidates)].tolist())
            for question, row in zip(questions, log_probabilities)
        ]

    def _answer(self, log_probabilities: list[float]) -> Reranked:
        probabilities = [math.exp(value) for value in log_probabilities]
        mass = sum(probabilities)
        if not math.isfinite(mass):
            return Reranked((), 0.0, "the model's output is not finite; try rerank.dtype: float32")
        if mass < self.options.min_label_mass or mass == 0:
            return Reranked(
                (), mass, f"the options got a probability of only {mass:.2f}: the question was not answered"
            )
        return Reranked(tuple(probability / mass for probability in probabilities), mass)

    def _inputs(self, questions: Sequence[Question]) -> dict[str, Any]:
        """Tokens, pixels and grids of a left-padded batch, on the model's device."""
        pictures = [self._resized(question.image) for question in questions]
        pixels = self._processor(images=pictures, do_resize=False, return_tensors="pt")
        merged = self._config.vision_config.spatial_merge_size**2  # patches that become one visual token
        counts = [int(grid.prod()) // merged for grid in pixels["image_grid_thw"]]
        texts = [self._text(question, count) for question, count in zip(questions, counts)]
        tokens = self._tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
        inputs = {
            "input_ids": tokens["input_ids"],
            "attention_mask": tokens["attention_mask"],
            "mm_token_type_ids": (tokens["input_ids"] == self._config.image_token_id).int(),
            "pixel_values": pixels["pixel_values"].to(self._model.dtype),
            "image_grid_thw": pixels["image_grid_thw"],
        }
        return {name: tensor.to(self._model.device) for name, tensor in inputs.items()}

    def _text(self, question: Question, visual_tokens: int) -> str:
        labels = [candidate.label for candidate in question.candidates]
        before, after = fill(self.options.prompt_template, labels)
        return f"{_BEFORE}{before}<|vision_start|>{_PAD * visual_tokens}<|vision_end|>{after}{_AFTER}"

    def _resized(self, image: Image.Image) -> Image.Image:
        vision = self._config.vision_config
        side = vision.patch_size * vision.spatial_merge_size  # pixels of one visual token, 28
        width, height = visual_grid(
            image.width, image.height, side, self.options.min_visual_tokens, self.options.max_visual_tokens
        )
        return image.resize((width * side, height * side), Image.Resampling.BICUBIC)

    def _from_pretrained(self, name: str, **options: Any) -> Any:
        with quiet_transformers(_EXTRA):
            return load("transformers", name, _EXTRA).from_pretrained(self._folder, local_files_only=True, **options)


def visual_grid(width: int, height: int, side: int, least: int, most: int) -> tuple[int, int]:
    """Choose how many visual tokens across and down: the aspect kept, `least` <= product <= `most` where possible.

    Pictures are resized to whole tokens by us, since the processor's own limits round unsafely when they meet.
    """
    aspect = min(max(width / height, 1 / _MAX_ASPECT), _MAX_ASPECT)
    tokens = min(max(width * height / side**2, least), most)
    across = max(1, round(math.sqrt(tokens * aspect)))
    down = max(1, round(math.sqrt(tokens / aspect)))
    while across * down > most:
        if across >= down:
            across -= 1
        else:
            down -= 1
    while across * down < least and (across + 1) * down <= most:
        across += 1
    return across, down
