"""Next-token scoring with Qwen2-VL: one forward pass gives the probability of each answer as the next token.

No text is generated or parsed. Each image passes the vision tower once, however many prompts show it. The common
prefix of the prompts of one request (by names and in pairs, the image) passes the language model once; the prompts
share its keys and values (Qwen2-VL: arXiv 2409.12191).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from PIL.Image import Image

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.errors import RerankerError
from lmm_classifier.rerank.prompts import PromptVariant

# the chat format that Qwen2-VL was trained on
_BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
_AFTER = "<|im_end|>\n<|im_start|>assistant\n"
_PAD = "<|image_pad|>"
_MIN_SHARED_TOKENS = 64  # with a shorter common prefix, a second pass costs more than it saves
_MAX_BATCH_TOKENS = 32_768  # bounds memory where a request has many prompts
_MAX_CACHED_TOKENS = 32_768  # visual tokens with cached features: 235 MB at the width of the 7B model in bfloat16


@dataclass(frozen=True)
class _Sequence:
    """One prompt as tokens."""

    tokens: list[int]
    keys: list[int | tuple[bytes, int]]  # per position; equal keys mean equal input, images included
    images: tuple[bytes, ...]  # digests of the images, in order


class NextTokenScorer:
    """Scores prompts with a loaded model.

    Args:
        torch: the library.
        model: a Qwen2-VL model on its device.
        tokenizer: its tokenizer.
        processor: its image processor.
        share: compute the common prefix of a request's prompts once; False computes each prompt from its start.
    """

    def __init__(self, torch: Any, model: Any, tokenizer: Any, processor: Any, share: bool = True) -> None:
        self._torch, self._model, self._tokenizer, self._processor = torch, model, tokenizer, processor
        self.share = share
        self._patches_per_token = model.config.vision_config.spatial_merge_size**2
        self._features: OrderedDict[bytes, tuple[Any, Any]] = OrderedDict()  # image -> features (t, d), grid (3,)
        self._answers: dict[str, list[int]] = {}

    def __call__(self, requests: Sequence[Sequence[PromptVariant]]) -> list[list[Float64Array]]:
        """Return the log-probabilities of the answers of every prompt, request by request."""
        groups = [[self._sequence(prompt) for prompt in prompts] for prompts in requests]
        self._encode_images(
            {key: image for prompts in requests for prompt in prompts for key, image in _images(prompt)}
        )
        result: list[list[Float64Array]] = [[] for _ in requests]
        for batch in _batches(groups):
            size = len(groups[batch[0]])
            with self._torch.inference_mode():
                logs = self._log_probabilities([groups[position] for position in batch])  # (n * size, vocabulary)
            for number, position in enumerate(batch):
                rows = logs[number * size : (number + 1) * size]
                result[position] = [self._of_answers(row, prompt) for row, prompt in zip(rows, requests[position])]
        self._trim_cache()
        return result

    def _of_answers(self, row: Any, prompt: PromptVariant) -> Float64Array:
        logs = [row[self._tokens_of(answer)].logsumexp(-1) for answer in prompt.answers]
        return np.array([float(log) for log in logs])

    def _tokens_of(self, answer: str) -> list[int]:
        """Return the single tokens of `answer`: as it is, and capitalized."""
        if answer not in self._answers:
            forms = dict.fromkeys([answer, answer.capitalize()])
            encoded = [self._tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms]
            self._answers[answer] = [tokens[0] for tokens in encoded if len(tokens) == 1]
        if not self._answers[answer]:
            raise RerankerError(
                f"The tokenizer of the checkpoint has no single token for the answer {answer!r}. "
                "Use a Qwen2-VL checkpoint."
            )
        return self._answers[answer]

    def _sequence(self, prompt: PromptVariant) -> _Sequence:
        keys = [key for key, _ in _images(prompt)]
        grids = [self._grid(part) for part in prompt.parts if not isinstance(part, str)]
        counts = iter(grids)
        text = "".join(
            part if isinstance(part, str) else f"<|vision_start|>{_PAD * next(counts)}<|vision_end|>"
            for part in prompt.parts
        )
        tokens = list(self._tokenizer(_BEFORE + text + _AFTER, add_special_tokens=False)["input_ids"])
        visual = iter((key, position) for key, count in zip(keys, grids) for position in range(count))
        image_token = self._model.config.image_token_id
        if tokens.count(image_token) != sum(grids):
            raise RerankerError(
                f"The tokenizer does not map {_PAD} to the image token {image_token} of the model. The files of the "
                "checkpoint do not belong together: download them again."
            )
        position_keys = [next(visual) if token == image_token else token for token in tokens]
        return _Sequence(tokens, position_keys, tuple(keys))

    def _grid(self, image: Image) -> int:
        """Return the number of visual tokens of an image."""
        patch = self._model.config.vision_config.patch_size
        return int((image.width // patch) * (image.height // patch) // self._patches_per_token)

    def _encode_images(self, images: dict[bytes, Image]) -> None:
        """Pass the images without cached features through the vision tower, in one batch."""
        new = {key: image for key, image in images.items() if key not in self._features}
        for key in images.keys() - new.keys():
            self._features.move_to_end(key)
        if not new:
            return
        inputs = self._processor(images=list(new.values()), do_resize=False, return_tensors="pt")
        device = self._model.device
        with self._torch.inference_mode():
            output = self._model.model.get_image_features(
                inputs["pixel_values"].to(device), inputs["image_grid_thw"].to(device)
            )
        features = getattr(output, "pooler_output", output)  # older releases return the tuple itself
        self._features.update(zip(new, zip(features, inputs["image_grid_thw"])))

    def _trim_cache(self) -> None:
        """Drop the features that were not used for longest, until the rest fits."""
        cached = sum(len(features) for features, _ in self._features.values())
        while cached > _MAX_CACHED_TOKENS:
            cached -= len(self._features.popitem(last=False)[1][0])

    def _log_probabilities(self, groups: Sequence[Sequence[_Sequence]]) -> Any:
        """Return log-probabilities of the next token, (n * size, vocabulary), of n groups of `size` sequences."""
        torch, size = self._torch, len(groups[0])
        shared = [_common_prefix(group) if self.share and size > 1 else 0 for group in groups]
        if min(shared) < _MIN_SHARED_TOKENS:
            shared = [0] * len(groups)
        flat = [sequence for group in groups for sequence in group]
        starts = [start for start in shared for _ in range(size)]
        embedded = [self._embed(sequence) for sequence in flat]  # each (tokens, d) and positions (3, tokens)
        past, past_mask = None, torch.zeros(len(flat), 0, dtype=torch.long, device=self._model.device)
        if shared[0]:
            firsts = [embedded[number * size] for number in range(len(groups))]
            heads = [(values[:stop], positions[:, :stop]) for (values, positions), stop in zip(firsts, shared)]
            values, positions, past_mask = self._padded(heads, left=True)
            past = self._run(values, positions, past_mask, None).past_key_values
            past.batch_repeat_interleave(size)
            past_mask = past_mask.repeat_interleave(size, 0)
        tails = [(values[start:], positions[:, start:]) for (values, positions), start in zip(embedded, starts)]
        values, positions, mask = self._padded(tails, left=False)
        hidden = self._run(values, positions, torch.cat([past_mask, mask], 1), past).last_hidden_state  # (b, tokens, d)
        last = mask.sum(1) - 1
        final = hidden[torch.arange(len(flat), device=hidden.device), last]  # (b, d)
        return self._model.lm_head(final).float().log_softmax(-1).cpu()

    def _run(self, values: Any, positions: Any, mask: Any, past: Any) -> Any:
        model = self._model.model.language_model
        caching = past is not None or self.share
        return model(
            inputs_embeds=values,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=past,
            use_cache=caching,
        )

    def _embed(self, sequence: _Sequence) -> tuple[Any, Any]:
        """Return token embeddings (tokens, d), image features included, and positions (3, tokens)."""
        torch, model = self._torch, self._model
        tokens = torch.tensor([sequence.tokens], device=model.device)  # (1, tokens)
        visual = tokens == model.config.image_token_id
        grids = torch.stack([self._features[key][1] for key in sequence.images]).to(model.device)
        positions, _ = model.model.get_rope_index(
            tokens, mm_token_type_ids=visual.int(), image_grid_thw=grids
        )  # (3, 1, tokens)
        values = model.get_input_embeddings()(tokens)[0]
        features = torch.cat([self._features[key][0] for key in sequence.images]).to(values.dtype)
        return values.masked_scatter(visual[0, :, None], features), positions[:, 0]

    def _padded(self, pieces: Sequence[tuple[Any, Any]], left: bool) -> tuple[Any, Any, Any]:
        """Return embeddings (b, t, d), positions (3, b, t) and mask (b, t), padded to one length t."""
        torch = self._torch
        longest = max(len(values) for values, _ in pieces)
        width, device = pieces[0][0].shape[1], self._model.device
        values = torch.zeros(len(pieces), longest, width, dtype=pieces[0][0].dtype, device=device)
        positions = torch.zeros(3, len(pieces), longest, dtype=torch.long, device=device)
        mask = torch.zeros(len(pieces), longest, dtype=torch.long, device=device)
        for row, (embeddings, indices) in enumerate(pieces):
            part = slice(longest - len(embeddings), None) if left else slice(0, len(embeddings))
            values[row, part], positions[:, row, part], mask[row, part] = embeddings, indices, 1
        return values, positions, mask


def _images(prompt: PromptVariant) -> list[tuple[bytes, Image]]:
    """Return each image of a prompt with a digest of its pixels."""
    images = [part for part in prompt.parts if not isinstance(part, str)]
    return [(_digest(image), image) for image in images]


def _digest(image: Image) -> bytes:
    return hashlib.blake2b(f"{image.size}".encode() + image.tobytes(), digest_size=16).digest()


def _batches(groups: Sequence[Sequence[_Sequence]]) -> Iterator[list[int]]:
    """Yield the positions of groups for one forward pass: equally many sequences each, and not too many tokens."""
    for size in sorted({len(group) for group in groups}):
        batch, tokens = list[int](), 0
        for position in (position for position, group in enumerate(groups) if len(group) == size):
            cost = sum(len(sequence.tokens) for sequence in groups[position])
            if batch and tokens + cost > _MAX_BATCH_TOKENS:
                yield batch
                batch, tokens = [], 0
            batch.append(position)
            tokens += cost
        if batch:
            yield batch


def _common_prefix(group: Sequence[_Sequence]) -> int:
    """Return the length of the common prefix of all sequences; the last token of each is never part of it."""
    columns = zip(*(sequence.keys[:-1] for sequence in group))
    return sum(1 for _ in takewhile(lambda column: all(key == column[0] for key in column), columns))
