"""One-forward scoring with Qwen2-VL: the probability of each answer as the next token; nothing is generated or parsed.

Every picture passes the vision tower once, however many requests show it; what the requests of one question have in
common (in orders: the picture; in pairs: the picture too) passes the language model once, and its keys and values are
shared by the rest (Qwen2-VL: arXiv 2409.12191).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.rerank.prompts import Ballot

# the chat format that Qwen2-VL was trained on
_BEFORE = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
_AFTER = "<|im_end|>\n<|im_start|>assistant\n"
_PAD = "<|image_pad|>"
_WORTH_SHARING = 64  # tokens in common under which a second pass costs more than it saves
_MOST_TOKENS = 32_768  # of one batch: bounds memory where a question makes many requests
_REMEMBERED_TOKENS = 32_768  # visual tokens whose features are kept: 235 MB at the width of the 7B model in bfloat16


@dataclass(frozen=True)
class _Sequence:
    """One request as tokens; `known_as` names each position, pictures by their content, to find what is shared."""

    tokens: list[int]
    known_as: list[int | tuple[bytes, int]]
    pictures: tuple[bytes, ...]


class OneForward:
    """Scores ballots with a loaded model; `share` off recomputes the common part for each, to measure what it saves."""

    def __init__(self, torch: Any, model: Any, tokenizer: Any, processor: Any, share: bool = True) -> None:
        self._torch, self._model, self._tokenizer, self._processor = torch, model, tokenizer, processor
        self.share = share
        self._merged = model.config.vision_config.spatial_merge_size**2  # patches that become one visual token
        self._features: OrderedDict[bytes, tuple[Any, Any]] = OrderedDict()  # picture -> features (t, d), grid (3,)
        self._answers: dict[str, list[int]] = {}

    def __call__(self, questions: Sequence[Sequence[Ballot]]) -> list[list[NDArray[np.float64]]]:
        """Return the log-probabilities of every ballot's answers, question by question."""
        groups = [[self._sequence(ballot) for ballot in ballots] for ballots in questions]
        self._look({key: part for ballots in questions for one in ballots for key, part in _pictures(one)})
        result: list[list[NDArray[np.float64]]] = [[] for _ in questions]
        for places in _together(groups):
            size = len(groups[places[0]])
            with self._torch.inference_mode():
                logs = self._log_probabilities([groups[place] for place in places])  # (n * size, vocabulary)
            for number, place in enumerate(places):
                rows = logs[number * size : (number + 1) * size]
                result[place] = [self._of_answers(row, ballot) for row, ballot in zip(rows, questions[place])]
        self._forget()
        return result

    def _of_answers(self, row: Any, ballot: Ballot) -> NDArray[np.float64]:
        logs = [row[self._tokens_of(answer)].logsumexp(-1) for answer in ballot.answers]
        return np.array([float(one) for one in logs])

    def _tokens_of(self, answer: str) -> list[int]:
        """The single tokens that say `answer`: as it is and with a capital."""
        if answer not in self._answers:
            forms = dict.fromkeys([answer, answer.capitalize()])
            encoded = [self._tokenizer(form, add_special_tokens=False)["input_ids"] for form in forms]
            self._answers[answer] = [tokens[0] for tokens in encoded if len(tokens) == 1]
        if not self._answers[answer]:
            raise RerankerError(f"the tokenizer has no single token for the answer {answer!r}")
        return self._answers[answer]

    def _sequence(self, ballot: Ballot) -> _Sequence:
        keys = [key for key, _ in _pictures(ballot)]
        grids = [self._grid(part) for part in ballot.parts if not isinstance(part, str)]
        counts = iter(grids)
        text = "".join(
            part if isinstance(part, str) else f"<|vision_start|>{_PAD * next(counts)}<|vision_end|>"
            for part in ballot.parts
        )
        tokens = list(self._tokenizer(_BEFORE + text + _AFTER, add_special_tokens=False)["input_ids"])
        visual = iter((key, place) for key, count in zip(keys, grids) for place in range(count))
        image_token = self._model.config.image_token_id
        if tokens.count(image_token) != sum(grids):
            raise RerankerError(f"the tokenizer does not know {_PAD} as the model's token for pictures")
        known_as = [next(visual) if token == image_token else token for token in tokens]
        return _Sequence(tokens, known_as, tuple(keys))

    def _grid(self, image: Image) -> int:
        patch = self._model.config.vision_config.patch_size
        return int((image.width // patch) * (image.height // patch) // self._merged)

    def _look(self, pictures: dict[bytes, Image]) -> None:
        """Pass pictures that were not seen lately through the vision tower, together."""
        new = {key: image for key, image in pictures.items() if key not in self._features}
        for key in pictures.keys() - new.keys():
            self._features.move_to_end(key)
        if not new:
            return
        inputs = self._processor(images=list(new.values()), do_resize=False, return_tensors="pt")
        device = self._model.device
        with self._torch.inference_mode():
            found = self._model.model.get_image_features(
                inputs["pixel_values"].to(device), inputs["image_grid_thw"].to(device)
            )
        features = getattr(found, "pooler_output", found)  # older releases return the tuple itself
        self._features.update(zip(new, zip(features, inputs["image_grid_thw"])))

    def _forget(self) -> None:
        held = sum(len(features) for features, _ in self._features.values())
        while held > _REMEMBERED_TOKENS:
            held -= len(self._features.popitem(last=False)[1][0])

    def _log_probabilities(self, groups: Sequence[Sequence[_Sequence]]) -> Any:
        """Log-probabilities of the next token (n * size, vocabulary) of n groups of `size` sequences."""
        torch, size = self._torch, len(groups[0])
        shared = [_common(group) if self.share and size > 1 else 0 for group in groups]
        if min(shared) < _WORTH_SHARING:
            shared = [0] * len(groups)
        flat = [sequence for group in groups for sequence in group]
        begin = [start for start in shared for _ in range(size)]
        embedded = [self._embed(sequence) for sequence in flat]  # each (tokens, d) and positions (3, tokens)
        past, seen = None, torch.zeros(len(flat), 0, dtype=torch.long, device=self._model.device)
        if shared[0]:
            firsts = [embedded[number * size] for number in range(len(groups))]
            heads = [(values[:stop], places[:, :stop]) for (values, places), stop in zip(firsts, shared)]
            values, places, seen = self._padded(heads, left=True)
            past = self._run(values, places, seen, None).past_key_values
            past.batch_repeat_interleave(size)
            seen = seen.repeat_interleave(size, 0)
        tails = [(values[start:], places[:, start:]) for (values, places), start in zip(embedded, begin)]
        values, places, mask = self._padded(tails, left=False)
        hidden = self._run(values, places, torch.cat([seen, mask], 1), past).last_hidden_state  # (b, tokens, d)
        last = mask.sum(1) - 1
        final = hidden[torch.arange(len(flat), device=hidden.device), last]  # (b, d)
        return self._model.lm_head(final).float().log_softmax(-1).cpu()

    def _run(self, values: Any, places: Any, mask: Any, past: Any) -> Any:
        model = self._model.model.language_model
        caching = past is not None or self.share
        return model(
            inputs_embeds=values,
            position_ids=places,
            attention_mask=mask,
            past_key_values=past,
            use_cache=caching,
        )

    def _embed(self, sequence: _Sequence) -> tuple[Any, Any]:
        """Token embeddings (tokens, d) with the pictures' features in place, and positions (3, tokens)."""
        torch, model = self._torch, self._model
        tokens = torch.tensor([sequence.tokens], device=model.device)  # (1, tokens)
        visual = tokens == model.config.image_token_id
        grids = torch.stack([self._features[key][1] for key in sequence.pictures]).to(model.device)
        places, _ = model.model.get_rope_index(
            tokens, mm_token_type_ids=visual.int(), image_grid_thw=grids
        )  # (3, 1, t)
        values = model.get_input_embeddings()(tokens)[0]
        features = torch.cat([self._features[key][0] for key in sequence.pictures]).to(values.dtype)
        return values.masked_scatter(visual[0, :, None], features), places[:, 0]

    def _padded(self, pieces: Sequence[tuple[Any, Any]], left: bool) -> tuple[Any, Any, Any]:
        """Embeddings (b, t, d), positions (3, b, t) and mask (b, t), padded to one length."""
        torch = self._torch
        longest = max(len(values) for values, _ in pieces)
        width, device = pieces[0][0].shape[1], self._model.device
        values = torch.zeros(len(pieces), longest, width, dtype=pieces[0][0].dtype, device=device)
        places = torch.zeros(3, len(pieces), longest, dtype=torch.long, device=device)
        mask = torch.zeros(len(pieces), longest, dtype=torch.long, device=device)
        for row, (value, place) in enumerate(pieces):
            part = slice(longest - len(value), None) if left else slice(0, len(value))
            values[row, part], places[:, row, part], mask[row, part] = value, place, 1
        return values, places, mask


def _pictures(ballot: Ballot) -> list[tuple[bytes, Image]]:
    """Each picture of a ballot with a digest of its pixels."""
    images = [part for part in ballot.parts if not isinstance(part, str)]
    return [(hashlib.blake2b(f"{one.size}".encode() + one.tobytes(), digest_size=16).digest(), one) for one in images]


def _together(groups: Sequence[Sequence[_Sequence]]) -> Iterator[list[int]]:
    """Places of groups that go through the model in one batch: of equally many sequences, and not too many tokens."""
    for size in sorted({len(group) for group in groups}):
        batch, tokens = list[int](), 0
        for place in (place for place, group in enumerate(groups) if len(group) == size):
            cost = sum(len(sequence.tokens) for sequence in groups[place])
            if batch and tokens + cost > _MOST_TOKENS:
                yield batch
                batch, tokens = [], 0
            batch.append(place)
            tokens += cost
        if batch:
            yield batch


def _common(group: Sequence[_Sequence]) -> int:
    """How many tokens all sequences begin with in common; at least the last one of each is its own."""
    columns = zip(*(sequence.known_as[:-1] for sequence in group))
    return sum(1 for _ in takewhile(lambda column: all(one == column[0] for one in column), columns))
