"""Throughput on a GPU: images per second by batch, the fraction of its matrix products, and the cores that feed it.

Run `python -m benchmarks.performance --only gpu` on a machine with CUDA. `--device cpu` tries the code on a tiny model.
With a folder of Qwen2-VL's tokenizer, `python -m benchmarks.gpu TOKENIZER` measures requests per second for the shapes
of the 7B model: with its shared prefix read once, and with every prompt read separately.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import SiglipImageProcessorPil, SiglipVisionModel

from benchmarks.real_shapes import SO400M, Shape, photographs
from benchmarks.rows import Row, where, write_rows
from benchmarks.side_by_side import in_turns, ratio
from lmm_classifier.core.concurrency import cpu_count, threaded_map
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import read_image
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.embeddings.torch_runner import ForwardOptions
from lmm_classifier.embeddings.transformers import TransformersEncoder

COMMAND = "python -m benchmarks.performance --only gpu"
TOKENIZER_COMMAND = "python -m benchmarks.gpu TOKENIZER"
TINY = Shape("tiny", 56, 14, 64, 128, 2, 2)
BATCHES = (16, 32, 64, 128, 256)
GEMM = 8192


def synchronized(device: str, job: Callable[[], Any]) -> Callable[[], None]:
    """Return the job followed by a wait for the device."""

    def run() -> None:
        job()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return run


def transformers_loop(checkpoint: Path, device: str, paths: list[Path]) -> Callable[[], None]:
    """Return the loop of transformers in bfloat16, one image at a time."""
    model: Any = SiglipVisionModel.from_pretrained(checkpoint, dtype=torch.bfloat16)
    model.to(device).eval()
    processor = SiglipImageProcessorPil.from_pretrained(checkpoint)

    @torch.inference_mode()
    def run() -> None:
        for path in paths:
            inputs = processor(images=Image.open(path).convert("RGB"), return_tensors="pt")
            model(pixel_values=inputs["pixel_values"].to(device, torch.bfloat16)).pooler_output.float().cpu()

    return run


def gemm_rate(device: str, size: int) -> float:
    """Return the floating point operations per second of torch's bfloat16 product of two square matrices."""
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    job = synchronized(device, lambda: [left @ right for _ in range(10)])
    return 20.0 * size**3 / in_turns({"gemm": job}, 5)["gemm"].median


def rows_of_shape(shape: Shape, device: str, batches: tuple[int, ...], work: Path, count: int) -> list[Row]:
    """Return the rows of one tower: the encoder alone by batch, then from files to vectors."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "the CPU"
    place = f"{name}, {where('torch', 'transformers')}"
    checkpoint = shape.save(work / "checkpoint")
    paths = photographs(work / "images", count, (640, 480))
    size = GEMM if device.startswith("cuda") else 1024
    peak = gemm_rate(device, size)
    variants = {f"batch {batch}": ForwardOptions(batch) for batch in batches} | {"automatic batch": ForwardOptions()}
    if device.startswith("cuda"):
        variants["automatic batch, compiled"] = ForwardOptions(compiled=True)
    measured, best = [], 0.0
    for variant, forward in variants.items():
        rate = encoding_rate(checkpoint, device, forward, paths)
        best = max(best, rate)
        against = (
            f"{100 * rate * shape.flops / peak:.1f} % of the product of {size} x {size}, {peak / 1e12:.3g} TFLOP/s"
        )
        name = f"GPU {shape.name}: {variant}"
        measured.append(Row(name, round(rate, 1), "images/s", None, "higher", against, place, COMMAND))
    fraction = round(100 * best * shape.flops / peak, 1)
    name = f"GPU {shape.name}: best fraction of the bfloat16 GEMM rate"
    measured.append(Row(name, fraction, "%", 60, "higher", f"{peak / 1e12:.3g} TFLOP/s", place, COMMAND))
    return measured + rows_of_files(shape, device, checkpoint, paths, best, place)


def encoding_rate(checkpoint: Path, device: str, forward: ForwardOptions, paths: list[Path]) -> float:
    """Return the images per second of the encoder alone, on decoded images."""
    encoder = TransformersEncoder(str(checkpoint), device=device, dtype="bfloat16", forward=forward)
    preprocessed = [encoder.preprocess(read_image(path).image) for path in paths]
    count = max(4 * encoder._run.batch, len(preprocessed))
    images = (preprocessed * (count // len(preprocessed) + 1))[:count]
    times = in_turns({"alone": synchronized(device, lambda: encoder.encode(images))}, 5)
    return count / times["alone"].median


def rows_of_files(
    shape: Shape, device: str, checkpoint: Path, paths: list[Path], encoder_rate: float, place: str
) -> list[Row]:
    """Return the rows from files: relative to the transformers loop, and the cores that feed the encoder."""
    encoder = TransformersEncoder(str(checkpoint), device=device, dtype="bfloat16")

    def stream() -> None:
        for _ in encode_files(paths, Encoding([LazyEncoder(lambda: encoder)], ImagesConfig(threads=cpu_count()), 256)):
            pass

    def decode() -> None:
        for _ in threaded_map(lambda path: encoder.preprocess(read_image(path).image), paths, 1):
            pass

    loop = synchronized(device, transformers_loop(checkpoint, device, paths))
    times = in_turns({"loop": loop, "stream": stream, "decode": decode}, 3)
    value, spread = ratio(times["loop"], times["stream"])
    core_rate = len(paths) / times["decode"].median
    rate = len(paths) / times["stream"].median
    against = f"{len(paths)} JPEGs of 640x480, {cpu_count()} cores, {rate:.0f}/s; one core decodes {core_rate:.0f}/s"
    speed = f"GPU {shape.name}: files to vectors, speed relative to a transformers loop"
    cores = f"GPU {shape.name}: cores needed to feed it"
    return [
        Row(speed, round(value, 2), "x", 2, "higher", against, place, COMMAND, spread),
        Row(cores, round(encoder_rate / core_rate, 1), "cores", None, "lower", against, place, COMMAND),
    ]


def rerank_rows(tokenizer: Path, device: str) -> list[Row]:
    """Return requests per second for the shapes of Qwen2-VL-7B, with a shared prefix and with separate prompts."""
    from benchmarks.reranking_real_size import SEVEN_B, large_images, make_requests, random_model
    from lmm_classifier.rerank.image_budget import VisualTokenBudget
    from lmm_classifier.rerank.prompts import PromptOptions, make_prompts
    from lmm_classifier.rerank.shared_prefix import SharedPrefixScorer

    model, processor = random_model(tokenizer, SEVEN_B, device)
    requests = make_requests(large_images(), 5, references=False)[:4]
    budget = VisualTokenBudget(256, 256, 4096)
    prompts = [[budget.fit(prompt) for prompt in make_prompts(PromptOptions(), request)] for request in requests]
    place = f"{torch.cuda.get_device_name()}, {where('torch', 'transformers')}"
    against = "Qwen2-VL-7B's shapes, random weights, bfloat16, 256 visual tokens, 5 options, batches of 4"
    measured = []
    for name, is_shared in (("two orders with a shared prefix", True), ("separate prompts", False)):
        scorer = SharedPrefixScorer(torch, model, processor, share=is_shared)
        times = [_seconds(scorer, partial(scorer, prompts)) for _ in range(4)]
        rate = round(len(requests) / float(np.median(times[1:])), 2)
        full_name = f"GPU reranks: {name}"
        measured.append(Row(full_name, rate, "questions/s", None, "higher", against, place, TOKENIZER_COMMAND))
    return measured


def _seconds(scorer: Any, job: Callable[[], object]) -> float:
    scorer._features.clear()
    started = time.perf_counter()
    job()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def rows(quick: bool = False) -> list[Row]:
    """Measure the real shapes on CUDA; nothing without it."""
    if not torch.cuda.is_available():
        print("No CUDA device was found: the GPU part is skipped.")
        return []
    with tempfile.TemporaryDirectory() as name:
        return rows_of_shape(SO400M, "cuda", BATCHES[:2] if quick else BATCHES, Path(name), 64 if quick else 512)


def main() -> None:
    """Measure the reranker and write benchmarks/results/gpu.json, or try the encoder's code on a CPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", nargs="?", type=Path, help="a folder with Qwen2-VL's tokenizer")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try the code on a tiny model")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        with tempfile.TemporaryDirectory() as folder:
            for row in rows_of_shape(TINY, "cpu", (1, 2), Path(folder), 16):
                print(f"{row.name}: {row.value:g} {row.unit} ({row.against})")
        return
    if arguments.tokenizer is None:
        parser.error("expected TOKENIZER, a folder with Qwen2-VL's tokenizer")
    write_rows("gpu", rerank_rows(arguments.tokenizer, arguments.device))


if __name__ == "__main__":
    main()
