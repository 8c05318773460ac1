"""Makes the trained tiny Qwen2-VL that the tests use: the real architecture, 56 x 56 pixels, eight drawn classes.

Run by hand, a few minutes on one thread: `python -m tests.checkpoints.make_tiny_qwen2_vl`. Questions are written by the
project's own prompt code, so that the checkpoint answers exactly what the program asks.

A model this small learns to choose among options from pictures only with help: options come before the picture; layer 0
begins with heads that look 1, 2, 3 and 4 tokens back, later layers with equal query and key weights, so that equal
tokens find each other; besides the answer, auxiliary targets are learnt (last visual token -> class, end of vision ->
letter, option name -> its letter); and the first part of the training mixes in text-only and captioning questions.
"""

import argparse
import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from lmm_classifier.prompt_template import DEFAULT_PROMPT_TEMPLATE
from lmm_classifier.rerank.prompts import question
from tests.shapes import CLASSES, draw

FOLDER = Path(__file__).parent / "tiny_qwen2_vl"
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
LETTERS = "ABCDEFGH"
BEGIN = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
END = "<|im_end|>\n<|im_start|>assistant\n"
NEXT = "<|im_end|>\n<|im_start|>user\n"
VISION = "<|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|>"
IGNORED = -100  # no target at this position
GRID = [1, 4, 4]  # patches of 14 pixels in time, height and width
HIDDEN, LAYERS, HEADS, KEY_HEADS, VISION_DIM, VISION_LAYERS = 64, 3, 4, 2, 48, 2


def make_tokenizer():
    """Byte-level BPE with Qwen2's pre-tokeniser and control tokens; each class name and letter is one token."""
    before, after = question(DEFAULT_PROMPT_TEMPLATE, CLASSES)
    texts = [BEGIN + before, after, "It is", "What is it?", END] * 400
    texts += [f"{letter}. {name}\n" for letter in LETTERS for name in CLASSES] * 200
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=440, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text.replace("<|", "").replace("|>", "") for text in texts], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]],
        additional_special_tokens=SPECIAL,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
    )


def make_config(tokenizer):
    """The smallest Qwen2-VL that learns it: 3 + 2 layers."""
    token = tokenizer.convert_tokens_to_ids
    half = HIDDEN // HEADS // 2
    section = [half - 2 * ((half - half // 4) // 2), (half - half // 4) // 2, (half - half // 4) // 2]
    text = {
        "initializer_range": 0.1,
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": section},
        "bos_token_id": token("<|endoftext|>"),
        "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"),
        "use_sliding_window": False,
    }
    vision = {
        "initializer_range": 0.1,
        "depth": VISION_LAYERS,
        "embed_dim": VISION_DIM,
        "hidden_size": HIDDEN,
        "num_heads": 4,
        "mlp_ratio": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    return Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


@torch.no_grad()
def begin_structured(model):
    """Give layer 0 heads that look back by position, and later layers equal query and key weights."""
    layers = model.model.language_model.layers
    size = HIDDEN // HEADS
    half, sharp = size // 2, 3
    frequency = 1.0 / (10000.0 ** (torch.arange(half).float() * 2 / size))
    for layer in layers:
        layer.self_attn.o_proj.weight.mul_(0.15)
        layer.mlp.down_proj.weight.mul_(0.15)
    first = layers[0].self_attn
    first.q_proj.weight.mul_(0.1)
    first.k_proj.weight.mul_(0.1)
    key = torch.zeros(size)
    key[:sharp] = 6.0
    first.k_proj.bias.copy_(key.repeat(KEY_HEADS))
    for head in range(HEADS):
        angle = -frequency[:sharp] * (head + 1)  # turns the query back by head + 1 positions
        query = torch.zeros(size)
        query[:sharp], query[half : half + sharp] = 6.0 * torch.cos(angle), 6.0 * torch.sin(angle)
        first.q_proj.bias[head * size : (head + 1) * size] = query
    slow = torch.tensor([float(f < 0.06) for f in frequency]).repeat(2)  # rotary pairs that hardly turn in a prompt
    for layer in layers[1:]:
        attention = layer.self_attn
        attention.k_proj.weight.mul_((slow * 3.0).repeat(KEY_HEADS)[:, None])
        shared = attention.k_proj.weight.view(KEY_HEADS, size, -1).repeat_interleave(HEADS // KEY_HEADS, 0)
        attention.q_proj.weight.copy_(shared.reshape(HEADS * size, -1))


@dataclass
class Pool:
    """Drawn pictures as the processor gives them: pixels (n, 16, 1176), classes (n,)."""

    classes: np.ndarray
    pixels: torch.Tensor
    of_class: dict[int, list[int]] = field(init=False)

    def __post_init__(self):
        self.of_class = {c: np.flatnonzero(self.classes == c).tolist() for c in range(len(CLASSES))}

    @classmethod
    def drawn(cls, count, seed, processor):
        rng = np.random.default_rng(seed)
        classes = rng.integers(0, len(CLASSES), count)
        images = [draw(CLASSES[c], rng) for c in classes]
        pixels = processor(images=images, do_resize=False, return_tensors="pt")["pixel_values"]
        return cls(classes, pixels.view(count, 16, -1))


@dataclass
class Sample:
    """One training text: tokens, the target of each position (predicted from the one before), its pictures."""

    tokens: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    aside: dict[int, int] = field(default_factory=dict)  # auxiliary targets by position

    def add(self, tokens, learn=False):
        self.tokens += tokens
        self.targets += tokens if learn else [IGNORED] * len(tokens)

    def closed(self):
        for position, target in self.aside.items():
            if position < len(self.targets):
                self.targets[position] = target
        return self


class Writer:
    """Writes training texts of three kinds; `ask` is the very question that the program asks."""

    def __init__(self, tokenizer):
        self.encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
        self.names = [self.encode(f" {name}")[0] for name in CLASSES]
        self.letters = [self.encode(letter)[0] for letter in LETTERS]
        assert all(len(self.encode(f" {name}")) == 1 for name in CLASSES), "a class name must be one token"
        before, after = question(DEFAULT_PROMPT_TEMPLATE, [CLASSES[0]])
        self.head, self.foot = before[: before.index("A. ")], after

    def _options(self, sample, options):
        sample.add(self.encode(BEGIN + self.head))
        for letter, option in zip(self.letters, options):
            sample.add([letter, *self.encode("."), self.names[option]])
            sample.aside[len(sample.tokens)] = letter  # at its name the model says an option's letter
            sample.add(self.encode("\n"))

    def _picture(self, sample, picture, name, letter):
        sample.add(self.encode(VISION))
        sample.pictures.append(picture)
        sample.aside[len(sample.tokens) - 1] = self.names[name]
        if letter is not None:
            sample.aside[len(sample.tokens)] = letter

    def ask(self, pool, rng, count, turns=1, with_text=False, final=False):
        """Options, then pictures (or names, `with_text`) one after the other, each answered by its letter."""
        sample, picture = Sample(), rng.randrange(len(pool.classes))
        true = int(pool.classes[picture])
        options = rng.sample([c for c in range(len(CLASSES)) if c != true], count - 1)
        options.append(true)
        rng.shuffle(options)
        self._options(sample, options)
        for turn in range(turns):
            if turn:
                true = rng.choice(options)
                picture = rng.choice(pool.of_class[true])
            letter = self.letters[options.index(true)]
            if with_text:
                sample.add([*self.encode("It is"), self.names[true]])
                sample.aside[len(sample.tokens)] = letter
            else:
                self._picture(sample, picture, true, letter)
            sample.add(self.encode(self.foot + END))
            if final:
                return sample, options.index(true)
            sample.add([letter], learn=True)
            if turn < turns - 1:
                sample.add(self.encode(NEXT))
        return sample.closed()

    def caption(self, pool, rng):
        """A picture, then its class by name."""
        sample, picture = Sample(), rng.randrange(len(pool.classes))
        name = int(pool.classes[picture])
        sample.add(self.encode(BEGIN))
        self._picture(sample, picture, name, None)
        sample.add(self.encode("What is it?" + END))
        sample.add([self.names[name]], learn=True)
        return sample.closed()


def forward(model, samples, pool, **options):
    """Logits of samples of one length."""
    tokens = torch.tensor([sample.tokens for sample in samples])
    inputs = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "mm_token_type_ids": (tokens == model.config.image_token_id).int(),
    }
    if pictures := [picture for sample in samples for picture in sample.pictures]:
        inputs["pixel_values"] = pool.pixels[pictures].reshape(-1, pool.pixels.shape[-1])
        inputs["image_grid_thw"] = torch.tensor([GRID] * len(pictures))
    return model(**inputs, **options).logits.float()


@torch.no_grad()
def accuracy(model, writer, pool, count, shift=0):
    """Share of right answers with `count` options; with `shift` each question gets another question's picture."""
    model.eval()
    rng = random.Random(5)
    right = 0
    for _ in range(4):
        asked = [writer.ask(pool, rng, count, final=True) for _ in range(100)]
        pictures = [sample.pictures for sample, _ in asked]
        for number, (sample, _) in enumerate(asked):
            sample.pictures = pictures[(number + shift) % len(asked)]
        logits = forward(model, [sample for sample, _ in asked], pool, logits_to_keep=1)[:, -1, writer.letters[:count]]
        right += sum(int(best) == answer for best, (_, answer) in zip(logits.argmax(-1), asked))
    model.train()
    return right / 400


def train(model, writer, pool, held_out, seconds, seed):
    """AdamW; text, captions and questions in turn for the first 45 %, then questions with a caption in three."""
    rng = random.Random(seed)
    vision = [p for name, p in model.named_parameters() if "visual" in name]
    text = [p for name, p in model.named_parameters() if "visual" not in name]
    groups = [{"params": text, "mul": 1.0}, {"params": vision, "mul": 2.5}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    started = said = time.time()
    step = 0
    while (share := (time.time() - started) / seconds) < 1:
        rate = 1e-3 * min(1, (step + 1) / 40) * (1 if share < 0.6 else max(0.03, (1 - share) / 0.4))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["mul"]
        kind = (("text", "caption", "ask") if share < 0.45 else ("ask", "ask", "caption"))[step % 3]
        count = rng.choice([2, 3, 4, 4, 5, 6])
        if kind == "caption":
            samples = [writer.caption(pool, rng) for _ in range(32)]
        else:
            turns, text_only = (4, True) if kind == "text" else (2, False)
            samples = [writer.ask(pool, rng, count, turns, text_only) for _ in range(16)]
        targets = torch.tensor([sample.targets for sample in samples])
        logits = forward(model, samples, pool)[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if time.time() - said > 20:
            said = time.time()
            right = accuracy(model, writer, held_out, 4)
            print(f"{share:4.0%} step {step} {kind} loss {loss:.3f} right of 4 {right:.2f}", flush=True)


def main():
    """Make, train, measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=280)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=FOLDER)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    tokenizer = make_tokenizer()
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 64})
    model = Qwen2VLForConditionalGeneration(make_config(tokenizer))
    begin_structured(model)
    writer = Writer(tokenizer)
    check(tokenizer, writer)
    pool, held_out = Pool.drawn(4000, 0, processor), Pool.drawn(400, 999, processor)
    train(model, writer, pool, held_out, asked.seconds, asked.seed)
    print("right by number of options", {n: accuracy(model, writer, held_out, n) for n in (2, 3, 4, 5, 6, 8)})
    print("with the picture of another question, 4 options", accuracy(model, writer, held_out, 4, shift=1))
    for part in (model.eval(), tokenizer, processor):
        part.save_pretrained(asked.output)
    print("bytes", sum(file.stat().st_size for file in asked.output.iterdir()))


def check(tokenizer, writer):
    """The training text is, token by token, what the program sends."""
    pool = type("Two", (), {"classes": np.array([0, 1]), "of_class": {}})()
    sample, _ = writer.ask(pool, random.Random(0), 2, final=True)
    before, after = question(DEFAULT_PROMPT_TEMPLATE, [CLASSES[0], CLASSES[1]])
    texts = [before, question(DEFAULT_PROMPT_TEMPLATE, [CLASSES[1], CLASSES[0]])[0]]
    whole = [tokenizer(BEGIN + text + VISION + after + END, add_special_tokens=False)["input_ids"] for text in texts]
    head = len(tokenizer(BEGIN + writer.head, add_special_tokens=False)["input_ids"])
    assert sample.tokens[:head] == whole[0][:head]
    assert len(sample.tokens) == len(whole[0]), "the program's text is cut into other tokens than the training text"


if __name__ == "__main__":
    main()
