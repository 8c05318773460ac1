"""Next-token scoring with a shared prefix, for the models in which it is proven: Qwen2-VL and Qwen2.5-VL.

One forward pass gives the probability of each answer as the next token; no text is generated or parsed. Each image
passes the vision tower once, however many prompts show it. The common prefix of the prompts of one request (by names
and in pairs, the image) passes the language model once; the prompts share its keys and values (Qwen2-VL: arXiv
2409.12191).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Any

from PIL.Image import Image

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.errors import RerankerError
from lmm_classifier.rerank.answer_tokens import AnswerTokens
from lmm_classifier.rerank.chat_format import ChatFormat
from lmm_classifier.rerank.prompts import PromptVariant
from lmm_classifier.rerank.token_batches import TokenBatches

MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl")
_PAD = "<|image_pad|>"
_MIN_SHARED_TOKENS = 64  # with a shorter common prefix, a second pass costs more than it saves
_MAX_PATCHES = 16_384  # patches of images that pass the vision tower at a time
_MAX_CACHED_TOKENS = 32_768  # visual tokens with cached features: 235 MB at the width of the 7B model in bfloat16


def can_share(config: Any) -> bool:
    """Return whether a shared prefix is proven for a model, given its configuration of transformers.

    A layer with a window forgets the beginning of a long prefix. Short drawn questions do not show it.
    """
    layers = getattr(config.get_text_config(), "layer_types", None) or ()
    return config.model_type in MODEL_TYPES and "sliding_attention" not in layers


@dataclass(frozen=True)
class _Sequence:
    """One prompt as tokens."""

    tokens: list[int]
    keys: list[int | tuple[bytes, int]]  # per position; equal keys mean equal input, images included
    images: dict[bytes, Image]  # by digest
    order: tuple[bytes, ...]  # digests of the images, in order


class SharedPrefixScorer:
    """Scores prompts with a loaded model.

    Args:
        torch: the library.
        model: a model of `MODEL_TYPES` on its device.
        processor: its processor.
        share: compute the common prefix of a request's prompts once; False computes each prompt from its start.
    """

    def __init__(self, torch: Any, model: Any, processor: Any, share: bool = True) -> None:
        self._torch, self._model = torch, model
        self.processor: Any = processor
        self.share: bool = share
        self.answers: AnswerTokens = AnswerTokens(processor.tokenizer)
        self._chat = ChatFormat(processor, model.config.model_type)
        self._batches = TokenBatches(torch, str(model.device))
        self._features: OrderedDict[bytes, tuple[Any, Any]] = OrderedDict()  # image -> features (t, d), grid (3,)

    def __call__(
        self, requests: Sequence[Sequence[PromptVariant]], least_shared: int = _MIN_SHARED_TOKENS
    ) -> list[list[Float64Array]]:
        """Return the log-probabilities of the answers of every prompt, request by request.

        Prefixes shorter than `least_shared` tokens are not shared.
        """
        prompts = [prompt for variants in requests for prompt in variants]
        numbers = [number for number, variants in enumerate(requests) for _ in variants]
        sequences = [self._sequence(prompt) for prompt in prompts]

        def compute(batch: list[int]) -> list[Float64Array]:
            groups = [list(group) for _, group in groupby(batch, key=numbers.__getitem__)]
            with self._torch.inference_mode():
                rows = self._log_probabilities(
                    [[sequences[place] for place in group] for group in groups], least_shared
                )
            return [self.answers.log_probabilities(row, prompts[place].answers) for row, place in zip(rows, batch)]

        computed = self._batches.run([len(sequence.tokens) for sequence in sequences], numbers, compute)
        results: list[list[Float64Array]] = [[] for _ in requests]
        for number, logs in zip(numbers, computed):
            results[number].append(logs)
        return results

    def _sequence(self, prompt: PromptVariant) -> _Sequence:
        images = [part for part in prompt.parts if not isinstance(part, str)]
        keys = [_digest(image) for image in images]
        counts = [self._visual_tokens(image) for image in images]
        start, *rest = self._chat.text(prompt).split(_PAD)
        text = start + "".join(_PAD * count + after for count, after in zip(counts, rest))
        tokens = list(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        image_token = self._model.config.image_token_id
        if len(rest) != len(images) or tokens.count(image_token) != sum(counts):
            raise RerankerError(
                f"The tokenizer does not map {_PAD} to the image token {image_token} of the model. The files of the "
                "checkpoint do not belong together: download them again."
            )
        visual = iter((key, place) for key, count in zip(keys, counts) for place in range(count))
        position_keys = [next(visual) if token == image_token else token for token in tokens]
        return _Sequence(tokens, position_keys, dict(zip(keys, images)), tuple(keys))

    def _visual_tokens(self, image: Image) -> int:
        vision = self._model.config.vision_config
        patches = (image.width // vision.patch_size) * (image.height // vision.patch_size)
        return int(patches // vision.spatial_merge_size**2)

    def _encode_images(self, images: dict[bytes, Image]) -> None:
        """Pass the images without cached features through the vision tower, and forget what was not used for longest.

        Other images stay cached as long as all together have at most `_MAX_CACHED_TOKENS` tokens.
        """
        for part in self._parts({key: image for key, image in images.items() if key not in self._features}):
            inputs = self.processor.image_processor(images=list(part.values()), do_resize=False, return_tensors="pt")
            grids, device = inputs["image_grid_thw"], self._model.device
            output = self._model.model.get_image_features(inputs["pixel_values"].to(device), grids.to(device))
            features = getattr(output, "pooler_output", output)  # older releases return the tuple itself
            # cloned: a view would hold the features of the whole part in memory
            self._features.update(zip(part, zip((rows.clone() for rows in features), grids)))
        for key in images:
            self._features.move_to_end(key)
        cached = sum(len(rows) for rows, _ in self._features.values())
        while cached > _MAX_CACHED_TOKENS and len(self._features) > len(images):
            cached -= len(self._features.popitem(last=False)[1][0])

    def _parts(self, images: dict[bytes, Image]) -> Iterable[dict[bytes, Image]]:
        part, patches = dict[bytes, Image](), 0
        for key, image in images.items():
            more = self._visual_tokens(image) * self._model.config.vision_config.spatial_merge_size**2
            if part and patches + more > _MAX_PATCHES:
                yield part
                part, patches = {}, 0
            part[key], patches = image, patches + more
        if part:
            yield part

    def _log_probabilities(self, groups: Sequence[Sequence[_Sequence]], least_shared: int) -> Any:
        """Return log-probabilities of the next token, (n, vocabulary), of the n sequences of all groups."""
        torch = self._torch
        flat = [sequence for group in groups for sequence in group]
        self._encode_images({key: image for sequence in flat for key, image in sequence.images.items()})
        shared = self._shared(groups, least_shared)
        owners = [number for number, group in enumerate(groups) for _ in group]
        embedded = [self._embed(sequence) for sequence in flat]  # each (tokens, d) and positions (3, tokens)
        past, past_mask = None, torch.zeros(len(flat), 0, dtype=torch.long, device=self._model.device)
        if shared:
            firsts = [embedded[owners.index(number)] for number in range(len(groups))]
            heads = [(values[:stop], positions[:, :stop]) for (values, positions), stop in zip(firsts, shared)]
            values, positions, past_mask = self._padded(heads)
            past = self._run(values, positions, past_mask, None).past_key_values
            chosen = torch.tensor(owners, device=self._model.device)
            past.batch_select_indices(chosen)
            past_mask = past_mask[chosen]
        starts = [shared[owner] if shared else 0 for owner in owners]
        tails = [(values[start:], positions[:, start:]) for (values, positions), start in zip(embedded, starts)]
        values, positions, mask = self._padded(tails)
        hidden = self._run(values, positions, torch.cat([past_mask, mask], 1), past).last_hidden_state  # (n, tokens, d)
        final = hidden[torch.arange(len(flat), device=hidden.device), mask.sum(1) - 1]  # (n, d)
        return self._model.lm_head(final).float().log_softmax(-1).cpu()

    def _shared(self, groups: Sequence[Sequence[_Sequence]], least: int) -> list[int]:
        """Return the length of the prefix that each group shares; an empty list where sharing does not pay."""
        lengths = [_common_prefix(group) for group in groups]
        several = [length for length, group in zip(lengths, groups) if len(group) > 1]
        return lengths if self.share and several and min(several) >= least else []

    def _run(self, values: Any, positions: Any, mask: Any, past: Any) -> Any:
        return self._model.model.language_model(
            inputs_embeds=values,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=past,
            use_cache=past is not None or self.share,
        )

    def _embed(self, sequence: _Sequence) -> tuple[Any, Any]:
        """Return token embeddings (tokens, d), image features included, and positions (3, tokens)."""
        torch, model = self._torch, self._model
        tokens = torch.tensor([sequence.tokens], device=model.device)  # (1, tokens)
        visual = tokens == model.config.image_token_id
        grids = torch.stack([self._features[key][1] for key in sequence.order]).to(model.device)
        positions, _ = model.model.get_rope_index(
            tokens, mm_token_type_ids=visual.int(), image_grid_thw=grids
        )  # (3, 1, tokens)
        values = model.get_input_embeddings()(tokens)[0]
        features = torch.cat([self._features[key][0] for key in sequence.order]).to(values.dtype)
        return values.masked_scatter(visual[0, :, None], features), positions[:, 0]

    def _padded(self, pieces: Sequence[tuple[Any, Any]]) -> tuple[Any, Any, Any]:
        """Return embeddings (b, t, d), positions (3, b, t) and mask (b, t), padded on the right to one length t.

        On the right each row still has keys to see: itself and all before it. A row without keys is undefined, and some
        GPU kernels return NaN for it.
        """
        torch = self._torch
        longest = max(len(values) for values, _ in pieces)
        width, device = pieces[0][0].shape[1], self._model.device
        values = torch.zeros(len(pieces), longest, width, dtype=pieces[0][0].dtype, device=device)
        positions = torch.zeros(3, len(pieces), longest, dtype=torch.long, device=device)
        mask = torch.zeros(len(pieces), longest, dtype=torch.long, device=device)
        for row, (embeddings, indices) in enumerate(pieces):
            part = slice(0, len(embeddings))
            values[row, part], positions[:, row, part], mask[row, part] = embeddings, indices, 1
        return values, positions, mask


def _digest(image: Image) -> bytes:
    return hashlib.blake2b(f"{image.size}".encode() + image.tobytes(), digest_size=16).digest()


def _common_prefix(group: Sequence[_Sequence]) -> int:
    """Return the length of the common prefix of all sequences; the last token of each is never part of it."""
    columns = zip(*(sequence.keys[:-1] for sequence in group))
    return sum(1 for _ in takewhile(lambda column: all(key == column[0] for key in column), columns))
