"""Reranking with the trained tiny Qwen2-VL: accuracy, the gate, option orders, attacks and speed.

Run it by `python -m benchmarks.reranking [TOKENIZER] [--real-size]`. TOKENIZER is a folder with Qwen2-VL's own
tokenizer. With --real-size, the shapes of Qwen2-VL-2B are measured and added to the stored rows.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.reranking_real_size import generate_and_parse, real_size_rows
from benchmarks.reranking_tasks import (
    BUDGET,
    EXAMPLES,
    FABRICS,
    NAMES,
    NEW,
    OPTIONS,
    SEEDS,
    LabeledImage,
    Outcome,
    Task,
    classify,
    draw_images,
    make_requests,
    make_task,
)
from benchmarks.rows import Better, Row, read_rows, where, write_rows
from lmm_classifier.core.arrays import BoolArray
from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.data.synthetic.shapes import SHAPES
from lmm_classifier.rerank.fusion import Fusion
from lmm_classifier.rerank.openai_api import OpenAIReranker
from lmm_classifier.rerank.server_options import ServerOptions
from lmm_classifier.rerank.vlm import VlmReranker
from tests.helpers.fault_server import FaultServer
from tests.helpers.tiny_qwen2_vl import biased

COMMAND = "python -m benchmarks.reranking"
TINY = "tiny trained Qwen2-VL (278 k parameters), 56 px"
RETRIEVAL, MODEL, FUSED = "retrieval alone", "model's own choice on every image", "fused on every image"
FIXED = "fixed threshold 0.7, model's own choice"
ATTACKED = ("retrieval alone", "the model's own choice", "fused")


def gate_rows(name: str, classes: Sequence[str], goals: bool) -> list[Row]:
    """Compare retrieval alone, the model on every image, the measured gate, and thresholds with as many calls."""
    runs = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(_gate_figures(*classify(make_task(Path(folder), classes, seed))))
    mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
    against = f"{EXAMPLES} examples, {NEW} new images per class, 5 seeds; descriptor; {TINY}"
    place = where("torch", "transformers")

    def row(what: str, value: float, unit: str, goal: float | None = None, better: Better = "higher") -> Row:
        return Row(f"{name}: {what}", round(value, 1), unit, goal, better, against, place, COMMAND)

    full_gain = max(mean[MODEL], mean[FUSED]) - mean[RETRIEVAL]
    fraction = 100 * (mean["measured gate"] - mean[RETRIEVAL]) / full_gain if full_gain > 0 else 0.0
    calls = ("calls of the fixed threshold", "calls of the measured gate")
    counts = ("corrected per 100 calls", "newly wrong per 100 calls")
    return [
        *(row(key, value, "%") for key, value in mean.items() if key not in (*calls, *counts)),
        row(calls[0], 10 * mean[calls[0]], "per 1000", None, "lower"),
        row(calls[1], 10 * mean[calls[1]], "per 1000", 400 if goals else None, "lower"),
        row("fraction of the full gain", fraction, "%", 95 if goals else None),
        row("measured gate minus fixed threshold 0.7", mean["measured gate"] - mean[FIXED], "points", 0.1),
        row(counts[0], mean[counts[0]], ""),
        row(counts[1], mean[counts[1]], "", None, "lower"),
    ]


def _gate_figures(outcomes: list[Outcome], fusion: Fusion) -> dict[str, float]:
    """Return the percentages of one task."""
    retrieval = np.array([outcome.retrieval_correct for outcome in outcomes])
    model = np.array([outcome.model_correct for outcome in outcomes])
    fused = np.array([outcome.fused_correct(fusion) for outcome in outcomes])
    gated = np.array([outcome.result.label == outcome.truth for outcome in outcomes])
    asked = np.array([outcome.result.used_reranker or outcome.result.error is not None for outcome in outcomes])
    confidence = np.array([outcome.probabilities[0] for outcome in outcomes])
    below = confidence < 0.7
    lowest = np.zeros(len(outcomes), bool)
    lowest[np.argsort(confidence, kind="stable")[: int(asked.sum())]] = True
    fractions = {
        RETRIEVAL: retrieval.mean(),
        MODEL: model.mean(),
        FUSED: fused.mean(),
        "measured gate": gated.mean(),
        FIXED: np.where(below, model, retrieval).mean(),
        "threshold with as many calls, model's own choice": np.where(lowest, model, retrieval).mean(),
        "threshold with as many calls, fused": np.where(lowest, fused, retrieval).mean(),
        "random choice of as many calls, fused": retrieval.mean() + (fused.mean() - retrieval.mean()) * asked.mean(),
        "oracle with as many calls": retrieval.mean() + min((fused & ~retrieval).mean(), asked.mean()),
        "calls of the fixed threshold": below.mean(),
        "calls of the measured gate": asked.mean(),
        "corrected per 100 calls": _mean_of(gated & ~retrieval, asked),
        "newly wrong per 100 calls": _mean_of(~gated & retrieval, asked),
    }
    return {key: 100 * float(value) for key, value in fractions.items()}


def _mean_of(flags: BoolArray, chosen: BoolArray) -> float:
    return float(flags[chosen].mean()) if chosen.any() else 0.0


def accuracy(reranker: Any, images: Sequence[LabeledImage], count: int = 4) -> tuple[float, float]:
    """Return the accuracy in percent and the mean disagreement, for `count` options in shuffled order."""
    rng = random.Random(0)
    requests = []
    for label, image in images:
        labels = [label, *rng.sample([name for name in SHAPES if name != label], count - 1)]
        rng.shuffle(labels)
        requests.append(RerankRequest(image, tuple(Candidate(name, 1 / count, ()) for name in labels)))
    answers = reranker.rerank(requests)
    correct = [
        not answer.failure and request.candidates[int(np.argmax(answer.scores))].label == label
        for request, answer, (label, _) in zip(requests, answers, images)
    ]
    return 100 * float(np.mean(correct)), float(np.mean([answer.disagreement for answer in answers]))


def order_rows() -> list[Row]:
    """Measure a checkpoint with a planted preference for A, in one, two and four option orders."""
    images = draw_images(SHAPES, 40, 77)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        biased_options = replace(OPTIONS, model_name=biased(Path(folder), 14.0))
        for name, options in (("unbiased model", OPTIONS), ("model biased to A", biased_options)):
            for orders in (1, 2, 4):
                reranker = VlmReranker(options, replace(NAMES, orders=orders), BUDGET)
                percent, disagreement = accuracy(reranker, images)
                goal = 95.0 if (name, orders) == ("model biased to A", 2) else None
                full_name = f"orders: {name}, {orders} {'order' if orders == 1 else 'orders'}"
                against = f"320 images, 4 options; mean disagreement {disagreement:.2f}; {TINY}"
                value = round(percent, 1)
                rows.append(Row(full_name, value, "% right", goal, "higher", against, where("torch"), COMMAND))
    return rows


def painted(image: Image.Image, text: str) -> Image.Image:
    """Return the image with a word written across it."""
    attacked = image.copy()
    pen = ImageDraw.Draw(attacked)
    font = ImageFont.load_default(11)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    x, y = (56 - (right - left)) // 2, (56 - (bottom - top)) // 2
    pen.rectangle((x - 1, y - 1, x + right - left + 1, y + bottom - top + 1), fill=(255, 255, 255))
    pen.text((x - left, y - top), text, fill=(0, 0, 0), font=font)
    return attacked


def typographic_rows() -> list[Row]:
    """Paint wrong label names on the images, and measure how much accuracy is lost."""
    rng = random.Random(1)
    losses, outside = np.zeros(3), 0
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            task = make_task(Path(folder), SHAPES, seed)
            attacked = [
                (label, painted(image, rng.choice([name for name in SHAPES if name != label])))
                for label, image in task.images
            ]
            for sign, images in ((1, task.images), (-1, attacked)):
                outcomes, fusion = classify(Task(task.config, images))
                correct = [
                    (outcome.retrieval_correct, outcome.model_correct, outcome.fused_correct(fusion))
                    for outcome in outcomes
                ]
                losses += sign * 100 * np.mean(correct, axis=0)
                outside += sum(outcome.result.label not in SHAPES for outcome in outcomes)
    against = f"a wrong label name painted across each of 320 images, 5 seeds; {TINY}, which cannot read"
    place, prefix = where("torch"), "typographic attack"
    rows = [
        Row(f"{prefix}: accuracy lost, {name}", round(float(loss) / len(SEEDS), 1), "points", None, "lower", against,
            place, COMMAND)
        for name, loss in zip(ATTACKED, losses)
    ]  # fmt: skip
    name = f"{prefix}: results outside the label set"
    return [*rows, Row(name, outside, "", 0, "lower", against, place, COMMAND)]


def median_seconds(job: Callable[[], object], rounds: int) -> float:
    """Return the median time of one call."""
    job()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        job()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def speed_rows() -> list[Row]:
    """Compare one forward pass with generate and parse on the tiny model."""
    reranker = VlmReranker(OPTIONS, NAMES, BUDGET)
    requests = make_requests(draw_images(SHAPES, 8, 5), 4, references=False)
    scorer = reranker._open()
    slow = median_seconds(lambda: [generate_and_parse(scorer, BUDGET, NAMES, request, 8) for request in requests], 3)
    batched = median_seconds(lambda: reranker.rerank(requests), 3)
    one_by_one = median_seconds(lambda: [reranker.rerank([request]) for request in requests], 3)
    against = f"64 images, 4 options; two orders, compared with one order and 8 generated tokens; {TINY}"
    place, name = where("torch", "transformers"), "speed: one forward pass relative to generate and parse"
    single = f"{name}, one image at a time"
    return [
        Row(name, round(slow / batched, 1), "x", 3, "higher", against, place, COMMAND),
        Row(single, round(slow / one_by_one, 1), "x", None, "higher", against, place, COMMAND),
    ]


def circuit_breaker_rows() -> list[Row]:
    """Measure the time that an open circuit breaker adds to a request."""
    request = RerankRequest(Image.new("RGB", (56, 56)), tuple(Candidate(label, 0.5, ()) for label in SHAPES[:2]))
    with FaultServer("500") as url:
        reranker = OpenAIReranker(ServerOptions(url, "m", retries=0), NAMES, BUDGET)
        for _ in range(6):
            reranker.rerank([request])
        milliseconds = 1000 * median_seconds(lambda: reranker.rerank([request]), 200)
        reranker.close()
    against = "a server that answers 500; median of 200 requests"
    name = "servers: time added by an open circuit breaker"
    return [Row(name, round(milliseconds, 2), "ms", 5, "lower", against, where("httpx2"), COMMAND)]


def main() -> None:
    """Measure all, or with --real-size add the real shapes to the stored rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", nargs="?", type=Path, help="a folder with Qwen2-VL's tokenizer")
    parser.add_argument("--real-size", action="store_true", help="measure the shapes of Qwen2-VL-2B")
    arguments = parser.parse_args()
    stored = read_rows("reranking")
    if arguments.real_size:
        rows = [row for row in stored if not row.name.startswith("real size")]
        rows += real_size_rows(arguments.tokenizer)
    else:
        rows = [
            *gate_rows("trained shapes", SHAPES, goals=True),
            *gate_rows("trained shapes and untrained fabrics", (*SHAPES, *FABRICS), goals=False),
            *order_rows(),
            *typographic_rows(),
            *circuit_breaker_rows(),
            *speed_rows(),
        ]
    write_rows("reranking", rows)


if __name__ == "__main__":
    main()
