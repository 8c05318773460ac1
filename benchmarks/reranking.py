"""The second look with the trained tiny Qwen2-VL: what asking gains, whom it pays to ask, what orders cure, how fast.

Run by `python -m benchmarks.reranking [TOKENIZER] [--real-size]`; TOKENIZER is a folder with Qwen2-VL's own tokenizer,
and --real-size adds to that the shapes of Qwen2-VL-2B with random weights (5 GB of memory; the better of two runs).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from benchmarks.rows import RESULTS, Row, where, write_rows
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Candidate, Classification, Question
from lmm_classifier.data.synthetic.catalog import KNOWN
from lmm_classifier.data.synthetic.catalog import draw as draw_pattern
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import Wish, calibrate
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.rerank.fusion import Fusion
from lmm_classifier.rerank.image_budget import PictureBudget
from lmm_classifier.rerank.next_token import OneForward
from lmm_classifier.rerank.openai_api import OpenAIReranker, ServerOptions
from lmm_classifier.rerank.prompts import Asking, write_ballots
from lmm_classifier.rerank.qwen2_vl import Qwen2VLOptions, Qwen2VLReranker
from lmm_classifier.rerank.responses import read_text_choice
from tests.fixtures import TRAINED_TEMPLATE
from tests.fixtures.make_tiny_qwen2_vl import FOLDER
from tests.helpers.fault_server import FaultServer
from tests.helpers.shapes import CLASSES, draw
from tests.rerank.test_qwen2_vl import biased

COMMAND = "python -m benchmarks.reranking"
REAL_COMMAND = "python -m benchmarks.reranking TOKENIZER --real-size"
ON_TINY = "tiny trained Qwen2-VL (278 k parameters), 56 px"
NAMES = Asking(prompt_template=TRAINED_TEMPLATE)
OPTIONS = Qwen2VLOptions(str(FOLDER), dtype="float32", batch_size=16)
BUDGET = PictureBudget(4, 4, 64)
SEEDS = range(5)
FABRICS = KNOWN[:8]
EXAMPLES, NEW = 8, 40  # per class


@dataclass
class Task:
    """A drawn corpus with its index, and new pictures with their labels."""

    config: PipelineConfig
    pictures: list[tuple[str, Image.Image]]


def drawn(classes: Sequence[str], count: int, seed: int) -> list[tuple[str, Image.Image]]:
    rng = np.random.default_rng(seed)
    paint = {**dict.fromkeys(CLASSES, draw), **dict.fromkeys(FABRICS, draw_pattern)}
    return [(label, paint[label](label, rng, 56)) for _ in range(count) for label in classes]


def make_task(root: Path, classes: Sequence[str], seed: int) -> Task:
    for number, (label, image) in enumerate(drawn(classes, EXAMPLES, 100 + seed)):
        (root / "corpus" / label).mkdir(parents=True, exist_ok=True)
        image.save(root / "corpus" / label / f"{number:04}.png")
    config = PipelineConfig(encoder={"backend": "descriptor"}, allow_unknown=False)
    config.retrieval.index_path = root / "index.npz"
    rerank = config.rerank
    rerank.model_name, rerank.dtype, rerank.batch_size = str(FOLDER), "float32", 16
    rerank.min_visual_tokens, rerank.max_visual_tokens, rerank.prompt_template = 4, 4, TRAINED_TEMPLATE
    build_index_from_directory(root / "corpus", root / "index.npz", config=config)
    calibrate(root / "index.npz", config, Wish(rerank_calls=400))
    return Task(config, drawn(classes, NEW, 900 + seed))


@dataclass
class Seen:
    """One new picture: what retrieval said, what the model said of the same candidates, and the gate's own verdict."""

    truth: str
    labels: tuple[str, ...]
    shares: np.ndarray
    says: Any  # Reranked
    verdict: Classification


def look(task: Task) -> tuple[list[Seen], HybridClassifier]:
    """Classify by the measured gate, and ask the model about every picture besides."""
    classifier = HybridClassifier(task.config)
    verdicts = classifier.classify_many([image for _, image in task.pictures])
    found = classifier.second_look
    most = found.candidates if found else 5
    seen, questions = [], []
    for (truth, image), verdict in zip(task.pictures, verdicts):
        by_share = sorted(verdict.candidates, key=lambda one: -one.score)[:most]
        questions.append(Question(image, tuple(by_share)))
        shares = np.array([one.score for one in by_share])
        seen.append(Seen(truth, tuple(one.label for one in by_share), shares, None, verdict))
    for one, answer in zip(seen, classifier.reranker.rerank(questions)):
        one.says = answer
    return seen, classifier


def own_choice(one: Seen) -> bool:
    scores = one.says.scores or one.shares
    return one.labels[int(np.argmax(scores))] == one.truth


def fused_choice(one: Seen, fusion: Fusion) -> bool:
    shares = fusion(one.shares, one.says) if one.says.scores else one.shares
    return one.labels[int(np.argmax(shares))] == one.truth


def gate_rows(name: str, classes: Sequence[str], goals: bool) -> list[Row]:
    """Retrieval alone, the model on every picture, the measured gate, and fixed thresholds with as many calls."""
    sums: dict[str, list[float]] = {}

    def note(key: str, value: float) -> None:
        sums.setdefault(key, []).append(100 * float(value))

    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            seen, classifier = look(make_task(Path(folder), classes, seed))
        fusion = classifier.second_look.fusion
        base = np.array([one.labels[0] == one.truth for one in seen])
        own = np.array([own_choice(one) for one in seen])
        fused = np.array([fused_choice(one, fusion) for one in seen])
        ours = np.array([one.verdict.label == one.truth for one in seen])
        asked = np.array([one.verdict.used_reranker or one.verdict.error is not None for one in seen])
        sure = np.array([one.shares[0] for one in seen])
        note("retrieval alone", base.mean())
        note("the model's own choice on every picture", own.mean())
        note("fused on every picture", fused.mean())
        note("measured gate", ours.mean())
        note("calls", asked.mean())
        fixed = sure < 0.7
        note("fixed threshold 0.7, the model's own choice", np.where(fixed, own, base).mean())
        note("calls of the fixed threshold", fixed.mean())
        first = np.zeros(len(seen), bool)
        first[np.argsort(sure, kind="stable")[: int(asked.sum())]] = True
        note("threshold with as many calls, own choice", np.where(first, own, base).mean())
        note("threshold with as many calls, fused", np.where(first, fused, base).mean())
        note("anywhere with as many calls, fused", base.mean() + (fused.mean() - base.mean()) * asked.mean())
        note("oracle with as many calls", base.mean() + min((fused & ~base).mean(), asked.mean()))
        note("rescued per 100 calls", (ours & ~base)[asked].mean() if asked.any() else 0)
        note("broken per 100 calls", (~ours & base)[asked].mean() if asked.any() else 0)
    mean = {key: float(np.mean(values)) for key, values in sums.items()}
    full = (
        max(mean["the model's own choice on every picture"], mean["fused on every picture"]) - mean["retrieval alone"]
    )
    share = 100 * (mean["measured gate"] - mean["retrieval alone"]) / full if full > 0 else 0.0
    on = f"{EXAMPLES} examples, {NEW} new pictures per class, 5 seeds; descriptor; {ON_TINY}"
    place = where("torch", "transformers")

    def row(what: str, value: float, unit: str, goal: float | None = None, better: str = "higher") -> Row:
        return Row(f"{name}: {what}", round(value, 1), unit, goal, better, on, place, COMMAND)  # type: ignore[arg-type]

    plain = ["retrieval alone", "the model's own choice on every picture", "fused on every picture", "measured gate"]
    rivals = [key for key in mean if "threshold" in key or "with as many" in key]
    rows = [row(what, mean[what], "%") for what in (*plain, *(one for one in rivals if "calls of" not in one))]
    rows.append(
        row("calls of the fixed threshold", 10 * mean["calls of the fixed threshold"], "per 1000", None, "lower")
    )
    rows.append(row("calls of the measured gate", 10 * mean["calls"], "per 1000", 400 if goals else None, "lower"))
    rows.append(row("share of the full gain", share, "%", 95 if goals else None))
    ahead = mean["measured gate"] - mean["fixed threshold 0.7, the model's own choice"]
    rows.append(row("measured gate less the fixed threshold 0.7", ahead, "points", 0.1))
    rows += [row(f"{kind} per 100 calls", mean[f"{kind} per 100 calls"], "") for kind in ("rescued", "broken")]
    return rows


def accuracy(reranker: Any, pictures: Sequence[tuple[str, Image.Image]], count: int = 4) -> tuple[float, float]:
    """Share of right answers, %, and mean disagreement, of questions with `count` options in shuffled order."""
    rng = random.Random(0)
    questions = []
    for label, image in pictures:
        labels = [label, *rng.sample([name for name in CLASSES if name != label], count - 1)]
        rng.shuffle(labels)
        questions.append(Question(image, tuple(Candidate(one, 1 / count, ()) for one in labels)))
    answers = reranker.rerank(questions)
    right = [
        not answer.failure and question.candidates[int(np.argmax(answer.scores))].label == label
        for question, answer, (label, _) in zip(questions, answers, pictures)
    ]
    return 100 * float(np.mean(right)), float(np.mean([answer.disagreement for answer in answers]))


def order_rows() -> list[Row]:
    """A checkpoint with a planted preference for A, asked in one, two and four orders."""
    pictures = drawn(CLASSES, 40, 77)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        options = replace(OPTIONS, model_name=biased(Path(folder), 14.0))
        for name, model in (("no bias", OPTIONS), ("planted bias to A", options)):
            for orders in (1, 2, 4):
                right, doubt = accuracy(Qwen2VLReranker(model, replace(NAMES, orders=orders), BUDGET), pictures)
                goal = 95.0 if (name, orders) == ("planted bias to A", 2) else None
                what = f"orders: {name}, {orders} asked"
                on = f"320 pictures, 4 options; mean disagreement {doubt:.2f}; {ON_TINY}"
                rows.append(Row(what, round(right, 1), "% right", goal, "higher", on, where("torch"), COMMAND))
    return rows


def painted(image: Image.Image, text: str) -> Image.Image:
    """The picture with a word written across."""
    shown = image.copy()
    pen = ImageDraw.Draw(shown)
    font = ImageFont.load_default(11)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    x, y = (56 - (right - left)) // 2, (56 - (bottom - top)) // 2
    pen.rectangle((x - 1, y - 1, x + right - left + 1, y + bottom - top + 1), fill=(255, 255, 255))
    pen.text((x - left, y - top), text, fill=(0, 0, 0), font=font)
    return shown


def typographic_rows() -> list[Row]:
    """Wrong label names painted on the pictures: how far accuracy falls, of the model alone and fused."""
    rng = random.Random(1)
    falls: dict[str, list[float]] = {"retrieval alone": [], "the model's own choice": [], "fused": []}
    outside = 0
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            task = make_task(Path(folder), CLASSES, seed)
            attacked = [
                (label, painted(image, rng.choice([name for name in CLASSES if name != label])))
                for label, image in task.pictures
            ]
            for sign, pictures in ((1, task.pictures), (-1, attacked)):
                seen, classifier = look(Task(task.config, pictures))
                fusion = classifier.second_look.fusion
                scores = (
                    np.mean([one.labels[0] == one.truth for one in seen]),
                    np.mean([own_choice(one) for one in seen]),
                    np.mean([fused_choice(one, fusion) for one in seen]),
                )
                outside += sum(one.verdict.label not in CLASSES for one in seen)
                for kept, score in zip(falls.values(), scores):
                    kept.append(sign * 100 * float(score))
    on = f"a wrong label name painted across each of 320 pictures, 5 seeds; {ON_TINY}, which cannot read"
    rows = [
        Row(f"typographic: fall of {name}", round(sum(values) / len(SEEDS), 1), "points", None, "lower", on,
            where("torch"), COMMAND)
        for name, values in falls.items()
    ]  # fmt: skip
    rows.append(Row("typographic: labels outside the set", outside, "", 0, "lower", on, where("torch"), COMMAND))
    return rows


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The median time of one call."""
    work()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def generate_and_parse(score: OneForward, budget: PictureBudget, asking: Asking, question: Question, new: int) -> Any:
    """What published rerankers do: one order, one picture, free text of up to `new` tokens, then a parser."""
    (ballot,) = write_ballots(replace(asking, orders=1), question)
    ballot = budget.fit(ballot)
    sequence = score._sequence(ballot)
    tokens = torch.tensor([sequence.tokens], device=score._model.device)
    pictures = [part for part in ballot.parts if not isinstance(part, str)]
    inputs = {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "mm_token_type_ids": (tokens == score._model.config.image_token_id).int(),
        **score._processor(images=pictures, do_resize=False, return_tensors="pt"),
    }
    said = score._model.generate(**inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False)
    return read_text_choice(score._tokenizer.decode(said[0, tokens.shape[1] :]), ballot.answers, ())


def questions_of(pictures: Sequence[tuple[str, Image.Image]], count: int, references: bool) -> list[Question]:
    """Questions with `count` options, and a reference picture for each."""
    result = []
    for number, (_, image) in enumerate(pictures):
        labels = [CLASSES[(number + step) % 8] for step in range(count)]
        shown = tuple((next(one for label, one in pictures if label == name),) for name in labels) if references else ()
        result.append(Question(image, tuple(Candidate(name, 1 / count, ()) for name in labels), references=shown))
    return result


def speed_rows() -> list[Row]:
    """One forward against generate + parse on the tiny model; what sharing pictures and prefixes saves there."""
    pictures = drawn(CLASSES, 8, 5)
    reranker = Qwen2VLReranker(OPTIONS, NAMES, BUDGET)
    questions = questions_of(pictures, 4, references=False)
    score = reranker._score = reranker._load()
    slow = seconds(lambda: [generate_and_parse(score, BUDGET, NAMES, one, 8) for one in questions], 3)
    fast = seconds(lambda: reranker.rerank(questions), 3)
    one_by_one = seconds(lambda: [reranker.rerank([one]) for one in questions], 3)
    on = f"64 pictures, 4 options, two orders against one order and 8 generated tokens; {ON_TINY}"
    place = where("torch", "transformers")
    return [
        Row("speed: one forward against generate + parse", round(slow / fast, 1), "x", 3, "higher", on, place, COMMAND),
        Row(
            "speed: the same, one picture at a time",
            round(slow / one_by_one, 1),
            "x",
            None,
            "higher",
            on,
            place,
            COMMAND,
        ),
    ]


def real_size_rows(tokenizer: Path) -> list[Row]:
    """The shapes of Qwen2-VL-2B with random weights: one forward, generate + parse, and what sharing saves."""
    score = OneForward(torch, *real_size(tokenizer))
    apart = OneForward(torch, score._model, score._tokenizer, score._processor, share=False)
    budget = PictureBudget(256, 256, 4096)
    pictures = [(label, image.resize((448, 448))) for label, image in drawn(CLASSES, 1, 5)]
    named, shown = (questions_of(pictures, 5, references)[:1] for references in (False, True))
    on = "Qwen2-VL-2B's shapes, random weights, bfloat16, 256 visual tokens a picture, 5 options"
    place = where("torch", "transformers")

    def ballots(questions: Sequence[Question], **asking: Any) -> list[Any]:
        return [[budget.fit(one) for one in write_ballots(Asking(**asking), question)] for question in questions]

    def once(which: OneForward, asked: list[Any]) -> float:
        spent = []
        for _ in range(2):
            which._features.clear()
            started = time.perf_counter()
            which(asked)
            spent.append(time.perf_counter() - started)
        print(" ".join(f"{one:.1f} s" for one in spent), flush=True)
        return min(spent)

    two, one = ballots(named), ballots(named, orders=1)
    once(score, one)  # the first one pays for warming up
    ours, alone, single = once(score, two), once(apart, two), once(apart, one)
    started = time.perf_counter()
    generate_and_parse(score, budget, Asking(), named[0], 16)
    slow = time.perf_counter() - started
    rows = [
        Row("real size: two orders in one forward against generate + parse of one", round(slow / ours, 2), "x", None,
            "higher", f"{on}; 16 generated tokens; CPU, where reading the picture is most of the work", place,
            REAL_COMMAND),
        Row("real size: prefix shared by two orders against not", round(alone / ours, 2), "x", None, "higher", on,
            place, REAL_COMMAND),
        Row("real size: two orders, in the time of one", round(ours / single, 2), "x", None, "lower", on, place,
            REAL_COMMAND),
    ]  # fmt: skip
    by_reference, in_pairs = ballots(shown, mode="references"), ballots(shown, mode="pairwise")
    gain = once(apart, in_pairs) / once(score, in_pairs)
    what = "real size: pairs, prefix shared against not"
    rows.append(Row(what, round(gain, 2), "x", None, "higher", f"{on}, 1 reference each", place, REAL_COMMAND))
    new = once(score, by_reference)
    started = time.perf_counter()
    score(by_reference)  # its pictures passed the vision tower a moment ago
    kept = time.perf_counter() - started
    what = "real size: references, pictures remembered from a question before against new ones"
    rows.append(Row(what, round(new / kept, 2), "x", None, "higher", on, place, REAL_COMMAND))
    return rows


# hidden size, size of the MLP, layers, heads, heads of keys and values, tied embeddings (arXiv 2409.12191)
TWO_B = (1536, 8960, 28, 12, 2, True)
SEVEN_B = (3584, 18944, 28, 28, 4, False)


def real_size(tokenizer: Path, shape: tuple[int, int, int, int, int, bool] = TWO_B) -> tuple[Any, Any, Any]:
    """Qwen2-VL of a real shape with random weights, its tokenizer and its processor."""
    hidden, mlp, layers, heads, shared, tied = shape
    from transformers import Qwen2Tokenizer, Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

    text = {
        "vocab_size": 151936 if tied else 152064, "hidden_size": hidden, "intermediate_size": mlp,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": shared,
        "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    vision = {"depth": 32, "embed_dim": 1280, "hidden_size": hidden, "num_heads": 16, "mlp_ratio": 4}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, image_token_id=151655, tie_word_embeddings=tied)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = Qwen2VLForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    # a folder with the vocabulary alone lacks the control tokens; theirs are the next numbers, in this order
    control = "im_start im_end object_ref_start object_ref_end box_start box_end quad_start quad_end vision_start " \
        "vision_end vision_pad image_pad video_pad"  # fmt: skip
    words = Qwen2Tokenizer.from_pretrained(
        tokenizer, additional_special_tokens=[f"<|{one}|>" for one in control.split()]
    )
    if words.convert_tokens_to_ids("<|image_pad|>") != config.image_token_id:
        raise ValueError(f"{tokenizer} is not Qwen2-VL's tokenizer")
    return model, words, Qwen2VLImageProcessorPil()


def breaker_rows() -> list[Row]:
    """What an open breaker adds to a question."""
    question = Question(Image.new("RGB", (56, 56)), tuple(Candidate(one, 0.5, ()) for one in CLASSES[:2]))
    with FaultServer("500") as url:
        reranker = OpenAIReranker(ServerOptions(url, "m", retries=0), NAMES, BUDGET)
        for _ in range(6):
            reranker.rerank([question])
        spent = 1000 * seconds(lambda: reranker.rerank([question]), 200)
        reranker.close()
    on = "a server that answers 500; median of 200 questions"
    return [Row("servers: an open breaker adds", round(spent, 2), "ms", 5, "lower", on, where("httpx2"), COMMAND)]


def main() -> None:
    """Measure all, or with --real-size add that to what was measured before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", nargs="?", type=Path)
    parser.add_argument("--real-size", action="store_true")
    asked = parser.parse_args()
    if asked.real_size:
        before = json.loads((RESULTS / "reranking.json").read_text(encoding="utf-8"))
        rows = [Row(**row) for row in before if not row["name"].startswith("real size")]
        rows += real_size_rows(asked.tokenizer)
    else:
        rows = [
            *gate_rows("shapes that it knows", CLASSES, goals=True),
            *gate_rows("shapes, and fabrics that it does not know", (*CLASSES, *FABRICS), goals=False),
            *order_rows(),
            *typographic_rows(),
            *breaker_rows(),
            *speed_rows(),
        ]
    write_rows("reranking", rows)


if __name__ == "__main__":
    main()
