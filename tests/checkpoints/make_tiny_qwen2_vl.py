"""Makes the trained tiny Qwen2-VL that the tests use: the real architecture, 56 x 56 pixels, eight drawn classes.

Run by hand, ten minutes on one thread: `python -m tests.checkpoints.make_tiny_qwen2_vl`. Questions are written by the
project's own prompt code, so that the checkpoint answers exactly what the program asks: first options by name, then
also options by reference pictures (whose names say nothing) and pairs.

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
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from lmm_classifier.datatypes import Candidate, Question
from lmm_classifier.rerank.prompts import Asking, write_ballots
from tests.checkpoints import TRAINED_TEMPLATE
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


def written(mode, labels=CLASSES[:2]):
    """The text parts of the program's question, the pictures left out."""
    image = Image.new("RGB", (56, 56))
    asked = Question(image, tuple(Candidate(name, 0.5, ()) for name in labels), references=((image,),) * len(labels))
    ballot = write_ballots(Asking(mode, orders=1, prompt_template=TRAINED_TEMPLATE), asked)[0]
    return [part for part in ballot.parts if isinstance(part, str)]


def make_tokenizer():
    """Byte-level BPE with Qwen2's pre-tokeniser and control tokens; each class name and letter is one token."""
    texts = [part for mode in ("names", "references", "pairwise") for part in written(mode)]
    texts = [BEGIN, *texts, "It is", "What is it?", END, "yes", "no", "yes", "no"] * 400
    texts += [f"{letter}. {name}\n" for letter in LETTERS for name in CLASSES] * 200
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=480, initial_alphabet=alphabet, show_progress=False)
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
        before, self.foot = written("names")
        self.head = before[: before.index("A. ")]
        before, *_, self.references_foot = written("references")
        self.references_head = before[: before.index("A. ")]
        self.between, self.pairwise_foot = written("pairwise")
        self.yes, self.no = self.encode("yes"), self.encode("no")
        assert len(self.yes) == len(self.no) == 1, "yes and no must be one token each"

    def _options(self, sample, options, shown=None):
        """By name; with `shown` by these pictures, under names that say nothing."""
        sample.add(self.encode(BEGIN + (self.references_head if shown else self.head)))
        for place, (letter, option) in enumerate(zip(self.letters, options)):
            sample.add([letter, *self.encode("."), self.names[option] if shown is None else shown[place][0]])
            if shown is None:
                sample.aside[len(sample.tokens)] = letter  # at its name the model says an option's letter
            else:
                sample.add(self.encode(":"))
                self._picture(sample, shown[place][1], option, letter)
            sample.add(self.encode("\n"))

    def _picture(self, sample, picture, name, letter):
        sample.add(self.encode(VISION))
        sample.pictures.append(picture)
        sample.aside[len(sample.tokens) - 1] = self.names[name]
        if letter is not None:
            sample.aside[len(sample.tokens)] = letter

    def ask(self, pool, rng, count, turns=1, kind="names", final=False):
        """Options, then pictures (or names, `text`) one after the other, each answered by its letter."""
        sample, picture, with_text = Sample(), rng.randrange(len(pool.classes)), kind == "text"
        true = int(pool.classes[picture])
        options = rng.sample([c for c in range(len(CLASSES)) if c != true], count - 1)
        options.append(true)
        rng.shuffle(options)
        shown = None
        if kind == "references":
            names = rng.sample(self.names, count)
            shown = [(name, _other(pool, rng, option, picture)) for name, option in zip(names, options)]
        self._options(sample, options, shown)
        for turn in range(turns):
            if turn:
                true = rng.choice(options)
                picture = _other(pool, rng, true, picture)
            letter = self.letters[options.index(true)]
            if with_text:
                sample.add([*self.encode("It is"), self.names[true]])
                sample.aside[len(sample.tokens)] = letter
            else:
                self._picture(sample, picture, true, letter)
            sample.add(self.encode((self.references_foot if shown else self.foot) + END))
            if final:
                return sample, options.index(true)
            sample.add([letter], learn=True)
            if turn < turns - 1:
                sample.add(self.encode(NEXT))
        return sample.closed()

    def pair(self, pool, rng, final=False):
        """Two pictures: do they show the same."""
        sample, picture = Sample(), rng.randrange(len(pool.classes))
        true, same = int(pool.classes[picture]), rng.random() < 0.5
        other = true if same else rng.choice([c for c in range(len(CLASSES)) if c != true])
        sample.add(self.encode(BEGIN))
        self._picture(sample, picture, true, None)
        sample.add(self.encode(self.between))
        self._picture(sample, _other(pool, rng, other, picture), other, None)
        if not final:
            sample.aside[len(sample.tokens)] = (self.yes if same else self.no)[0]
        sample.add(self.encode(self.pairwise_foot + END))
        if final:
            return sample, 0 if same else 1
        sample.add(self.yes if same else self.no, learn=True)
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


def _other(pool, rng, option, picture):
    """Another picture of a class."""
    return rng.choice([number for number in pool.of_class[option] if number != picture])


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
def accuracy(model, writer, pool, count, shift=0, kind="names"):
    """Share of right answers with `count` options; with `shift` each question gets another question's picture."""
    model.eval()
    rng = random.Random(5)
    right = 0
    for _ in range(4):
        if kind == "pairwise":
            asked, answers = [writer.pair(pool, rng, final=True) for _ in range(100)], writer.yes + writer.no
        else:
            asked = [writer.ask(pool, rng, count, kind=kind, final=True) for _ in range(100)]
            answers = writer.letters[:count]
        last = [sample.pictures[-1] for sample, _ in asked]
        for number, (sample, _) in enumerate(asked):
            sample.pictures[-1] = last[(number + shift) % len(asked)]
        logits = forward(model, [sample for sample, _ in asked], pool, logits_to_keep=1)[:, -1, answers]
        right += sum(int(best) == answer for best, (_, answer) in zip(logits.argmax(-1), asked))
    model.train()
    return right / 400


def train(model, writer, pool, held_out, seconds, kinds, start=0.0):
    """AdamW; `kinds(share)` are the kinds of text, in turn, when `share` of the time is over."""
    rng = random.Random(0)
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
        turn = kinds(share)
        kind = turn[step % len(turn)]
        count = rng.choice([2, 3, 4, 4, 5, 6] if kind != "references" else [2, 3, 4, 4, 5])
        if kind in ("caption", "pairwise"):
            write = writer.caption if kind == "caption" else writer.pair
            samples = [write(pool, rng) for _ in range(32)]
        else:
            samples = [writer.ask(pool, rng, count, 4 if kind == "text" else 2, kind) for _ in range(16)]
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
            right = {one: accuracy(model, writer, held_out, 4, kind=one) for one in ("names", "references", "pairwise")}
            print(f"{share:4.0%} step {step} {kind} loss {loss:.3f} right of 4 {right}", flush=True)


def main():
    """Make, train, measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=280, help="for the names; as much again for the rest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--begin", type=Path, help="a checkpoint that knows the names already")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    tokenizer = make_tokenizer()
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 64})
    model = Qwen2VLForConditionalGeneration(make_config(tokenizer))
    if asked.begin:
        take_over(model, tokenizer, asked.begin)
    else:
        begin_structured(model)
    writer = Writer(tokenizer)
    check(tokenizer, writer)
    pool, held_out = Pool.drawn(4000, 0, processor), Pool.drawn(400, 999, processor)
    names = ("text", "caption", "names"), ("names", "names", "caption")
    if not asked.begin:
        train(model, writer, pool, held_out, asked.seconds, lambda share: names[share >= 0.45])
    every = ("references", "names", "pairwise", "references")
    train(model, writer, pool, held_out, asked.seconds, lambda _: every)
    print("right by number of options", {n: accuracy(model, writer, held_out, n) for n in (2, 3, 4, 5, 6, 8)})
    shown = {n: accuracy(model, writer, held_out, n, kind="references") for n in (2, 3, 4, 5)}
    print("by reference pictures", shown, "in pairs", accuracy(model, writer, held_out, 2, kind="pairwise"))
    print("with the picture of another question, 4 options", accuracy(model, writer, held_out, 4, shift=1))
    for part in (model.eval(), tokenizer, processor):
        part.save_pretrained(asked.output)
    print("bytes", sum(file.stat().st_size for file in asked.output.iterdir()))


@torch.no_grad()
def take_over(model, tokenizer, folder):
    """Take the weights of a checkpoint, whose tokenizer may be another: embeddings go by their token."""
    known = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    theirs = Qwen2Tokenizer.from_pretrained(folder).get_vocab()
    state = known.state_dict()
    mine = model.get_input_embeddings().weight.clone()
    for token, number in tokenizer.get_vocab().items():
        if token in theirs:
            mine[number] = known.get_input_embeddings().weight[theirs[token]]
    for name, values in state.items():
        if values.shape[0] == len(theirs) and "visual" not in name:
            state[name] = mine
    model.load_state_dict(state)


def check(tokenizer, writer):
    """The training text is, token by token, what the program sends."""
    twice = np.repeat(np.arange(len(CLASSES)), 2)
    pool = type("Two", (), {"classes": twice, "of_class": {c: [2 * c, 2 * c + 1] for c in range(len(CLASSES))}})()
    for kind in ("names", "references"):
        sample, _ = writer.ask(pool, random.Random(3), 2, kind=kind, final=True)
        decoded = tokenizer.decode(sample.tokens)
        starts = [decoded.index(f"{letter}. ") + 3 for letter in "AB"]
        labels = [decoded[start:].split("\n")[0].split(":")[0] for start in starts]
        texts = written(kind, sorted(labels))
        whole = tokenizer(BEGIN + VISION.join(texts) + END, add_special_tokens=False)["input_ids"]
        assert sorted(whole) == sorted(sample.tokens), f"the program's {kind} text is cut into other tokens"
    sample, _ = writer.pair(pool, random.Random(0), final=True)
    whole = VISION.join(["", *written("pairwise")])
    assert sample.tokens == tokenizer(BEGIN + whole + END, add_special_tokens=False)["input_ids"]


if __name__ == "__main__":
    main()
