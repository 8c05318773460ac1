"""Next-token scoring by the model's own forward pass over whole prompts, for any vision-language model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.rerank.answer_tokens import AnswerTokens
from lmm_classifier.rerank.chat_format import ChatFormat
from lmm_classifier.rerank.prompts import PromptVariant
from lmm_classifier.rerank.token_batches import TokenBatches

Inputs = dict[str, Any]

_MAX_PIXELS = 8_000_000  # of images that are processed at a time: up to 24 bytes each


class WholeForwardScorer:
    """Scores prompts with a loaded model, each prompt from its start.

    Prompts are padded on the right, so that each row has keys to see, and read at their own last token.

    Args:
        torch: the library.
        model: a model of AutoModelForImageTextToText on its device.
        processor: its processor.
        resized: images come in whole visual tokens of this model, so its processor must not resize them again.
    """

    def __init__(self, torch: Any, model: Any, processor: Any, resized: bool) -> None:
        self._torch, self._model = torch, model
        self.processor = processor
        self.answers: AnswerTokens = AnswerTokens(processor.tokenizer)
        self._chat = ChatFormat(processor, model.config.model_type)
        self._batches = TokenBatches(torch, str(model.device))
        self._options = {"do_resize": False} if resized else {}
        self._keeps_last = "logits_to_keep" in inspect.signature(model.forward).parameters

    @property
    def is_float32(self) -> bool:
        """Whether the model computes in float32, so that two ways of computing differ by next to nothing."""
        return bool(self._model.dtype == self._torch.float32)

    def __call__(self, requests: Sequence[Sequence[PromptVariant]]) -> list[list[Float64Array]]:
        """Return the log-probabilities of the answers of every prompt, request by request."""
        prompts = [prompt for variants in requests for prompt in variants]
        logs = iter([row for part in _parts(prompts) for row in self._of_part(part)])
        return [[next(logs) for _ in variants] for variants in requests]

    def _of_part(self, prompts: Sequence[PromptVariant]) -> list[Float64Array]:
        """Return the log-probabilities of the answers of some prompts, whose images are all in memory."""
        inputs = [self._inputs(prompt) for prompt in prompts]
        kinds: dict[Any, list[int]] = {}
        for position, values in enumerate(inputs):
            kinds.setdefault(_shapes(values), []).append(position)
        results: list[Any] = [None] * len(prompts)
        for positions in kinds.values():

            def compute(batch: list[int], positions: list[int] = positions) -> list[Float64Array]:
                places = [positions[number] for number in batch]
                rows = self._log_probabilities([inputs[place] for place in places])
                return [self.answers.log_probabilities(row, prompts[place].answers) for row, place in zip(rows, places)]

            lengths = [inputs[place]["input_ids"].shape[1] for place in positions]
            for place, logs in zip(positions, self._batches.run(lengths, positions, compute)):
                results[place] = logs
        return results

    def _inputs(self, prompt: PromptVariant) -> Inputs:
        """Return the tensors of one prompt by name; `input_ids` is (1, tokens)."""
        text = self._chat.text(prompt)
        images = [part for part in prompt.parts if not isinstance(part, str)]
        special = {"add_special_tokens": False} if self._chat.starts_with_bos(text) else {}
        made = self.processor(text=[text], images=[images], return_tensors="pt", **self._options, **special)
        return dict(made)

    def _log_probabilities(self, parts: Sequence[Inputs]) -> Any:
        """Return log-probabilities of the next token, (n, vocabulary), of n prompts with inputs of equal shapes."""
        torch, model = self._torch, self._model
        inputs, lengths = self._joined(parts)
        last = torch.tensor(lengths, device=model.device) - 1
        kept, place = torch.unique(last, return_inverse=True) if self._keeps_last else (None, last)
        options = {} if kept is None else {"logits_to_keep": kept}
        with torch.inference_mode():
            logits = model(**inputs, use_cache=False, **options).logits  # (n, kept, vocabulary)
            rows = logits[torch.arange(len(parts), device=logits.device), place.to(logits.device)]
            return rows.float().log_softmax(-1).cpu()

    def _joined(self, parts: Sequence[Inputs]) -> tuple[Inputs, list[int]]:
        """Return the inputs of a batch on the device, padded on the right, and the tokens of each prompt."""
        torch, device, dtype = self._torch, self._model.device, self._model.dtype
        lengths = [part["input_ids"].shape[1] for part in parts]
        pad = self.processor.tokenizer.pad_token_id or 0
        joined: Inputs = {}
        for name, first in parts[0].items():
            values = [part[name] for part in parts]
            if _is_per_token(parts[0], first):
                fill = pad if name == "input_ids" else 0
                values = [
                    torch.nn.functional.pad(value, (0, max(lengths) - length), value=fill)
                    for value, length in zip(values, lengths)
                ]
            together = torch.cat(values)
            joined[name] = together.to(device, dtype if together.is_floating_point() else None)
        return joined, lengths


def _parts(prompts: Sequence[PromptVariant]) -> Iterator[list[PromptVariant]]:
    """Yield prompts in order, with so few images at a time that their processed pixels fit in the host's memory."""
    part, pixels = list[PromptVariant](), 0
    for prompt in prompts:
        more = sum(image.width * image.height for image in prompt.parts if not isinstance(image, str))
        if part and pixels + more > _MAX_PIXELS:
            yield part
            part, pixels = [], 0
        part, pixels = [*part, prompt], pixels + more
    if part:
        yield part


def _is_per_token(inputs: Mapping[str, Any], value: Any) -> bool:
    return bool(value.shape == inputs["input_ids"].shape)


def _shapes(inputs: Inputs) -> tuple[Any, ...]:
    """Return what must agree between prompts of one batch: the shapes of their images, less the first dimension."""
    return tuple(
        (name, None if _is_per_token(inputs, value) else tuple(value.shape[1:])) for name, value in inputs.items()
    )
