"""What a GPU makes of it: pictures a second by batch, the share of its matrix products, and what the CPU must feed it.

Run it where there is one: `python -m benchmarks.performance --only gpu`. `--device cpu` tries it out on a tiny model.
With a folder of Qwen2-VL's tokenizer, `python -m benchmarks.gpu TOKENIZER` adds questions a second of the 7B model's
shapes, with its shared prefix read once and with every ballot read alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import SiglipImageProcessorPil, SiglipVisionModel

from benchmarks.real_shapes import SO400M, Shape, photographs
from benchmarks.rows import Row, where, write_rows
from benchmarks.side_by_side import in_turns, ratio
from lmm_classifier.core.concurrency import in_threads, processors
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import read_picture
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files
from lmm_classifier.embeddings.siglip import SiglipEncoder
from lmm_classifier.embeddings.torch_runner import Forward

COMMAND = "python -m benchmarks.performance --only gpu"
TINY = Shape("tiny", 56, 14, 64, 128, 2, 2)
BATCHES = (16, 32, 64, 128, 256)
GEMM = 8192


def waited(device: str, job: Callable[[], Any]) -> Callable[[], None]:
    """The job, and the wait for the device to be done with it."""

    def run() -> None:
        job()
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return run


def naive(checkpoint: Path, device: str, paths: list[Path]) -> Callable[[], None]:
    """The loop of transformers in bfloat16, one picture at a time."""
    model = SiglipVisionModel.from_pretrained(checkpoint, dtype=torch.bfloat16).to(device).eval()
    processor = SiglipImageProcessorPil.from_pretrained(checkpoint)

    @torch.inference_mode()
    def run() -> None:
        for path in paths:
            inputs = processor(images=Image.open(path).convert("RGB"), return_tensors="pt")
            model(pixel_values=inputs["pixel_values"].to(device, torch.bfloat16)).pooler_output.float().cpu()

    return run


def ceiling(device: str, size: int) -> float:
    """Floating point operations a second of torch's bfloat16 product of two square matrices."""
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    job = waited(device, lambda: [left @ right for _ in range(10)])
    return 20.0 * size**3 / in_turns({"gemm": job}, 5)["gemm"].median


def of_shape(shape: Shape, device: str, batches: tuple[int, ...], work: Path, count: int) -> list[Row]:
    """Rows for one tower: the encoder alone by batch, then files to vectors."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "the CPU"
    place = f"{name}, {where('torch', 'transformers')}"
    checkpoint = shape.save(work / "checkpoint")
    paths = photographs(work / "pictures", count, (640, 480))
    most = ceiling(device, GEMM if device.startswith("cuda") else 1024)
    blank = SiglipEncoder(str(checkpoint), device=device, dtype="bfloat16")
    ready = [blank.prepare(read_picture(path).image) for path in paths]
    ways = {f"batch {batch}": Forward(batch) for batch in batches} | {"batch chosen": Forward()}
    if device.startswith("cuda"):
        ways["batch chosen, compiled"] = Forward(compiled=True)
    found, best = [], 0.0
    for said, forward in ways.items():
        encoder = SiglipEncoder(str(checkpoint), device=device, dtype="bfloat16", forward=forward)
        many = (ready * (4 * encoder._run.batch // len(ready) + 1))[: max(4 * encoder._run.batch, len(ready))]
        times = in_turns({"alone": waited(device, lambda: encoder.encode(many))}, 5)  # noqa: B023
        rate = len(many) / times["alone"].median
        best = max(best, rate)
        share = f"{100 * rate * shape.flops / most:.1f} % of the product of {GEMM} x {GEMM}, {most / 1e12:.3g} TFLOP/s"
        found.append(
            Row(f"GPU {shape.name}: {said}", round(rate, 1), "pictures/s", None, "higher", share, place, COMMAND)
        )
    share = 100 * best * shape.flops / most
    said = f"GPU {shape.name}: best share of the bfloat16 GEMM rate"
    found.append(Row(said, round(share, 1), "%", 60, "higher", f"{most / 1e12:.3g} TFLOP/s", place, COMMAND))
    return found + files(shape, device, checkpoint, paths, best, place)


def files(shape: Shape, device: str, checkpoint: Path, paths: list[Path], best: float, place: str) -> list[Row]:
    """From files: against the naive loop, and how many cores it takes to feed the encoder."""
    encoder = SiglipEncoder(str(checkpoint), device=device, dtype="bfloat16")
    loop = naive(checkpoint, device, paths)

    def stream() -> None:
        for _ in encode_files(paths, LazyEncoder(lambda: encoder), ImagesConfig(threads=processors()), 256):
            pass

    def decode() -> None:
        for _ in in_threads(lambda path: encoder.prepare(read_picture(path).image), paths, 1):
            pass

    times = in_turns({"loop": waited(device, loop), "stream": stream, "decode": decode}, 3)
    value, spread = ratio(times["loop"], times["stream"])
    core = len(paths) / times["decode"].median
    rate = len(paths) / times["stream"].median
    on = f"{len(paths)} JPEGs of 640x480, {processors()} cores, {rate:.0f}/s; one core decodes {core:.0f}/s"
    return [
        Row(f"GPU {shape.name}: files to vectors : transformers loop", round(value, 2), "x", 2, "higher", on, place,
            COMMAND, spread),
        Row(f"GPU {shape.name}: cores that feed it", round(best / core, 1), "cores", None, "lower", on, place, COMMAND),
    ]  # fmt: skip


def questions(tokenizer: Path, device: str) -> list[Row]:
    """Questions a second of Qwen2-VL-7B's shapes, with the common prefix read once and with every ballot alone."""
    from benchmarks.reranking import CLASSES, SEVEN_B, drawn, questions_of, real_size
    from lmm_classifier.rerank.image_budget import PictureBudget
    from lmm_classifier.rerank.next_token import OneForward
    from lmm_classifier.rerank.prompts import Asking, write_ballots

    model, words, processor = real_size(tokenizer, SEVEN_B)
    model.to(device)
    pictures = [(label, image.resize((448, 448))) for label, image in drawn(CLASSES, 1, 5)]
    asked = questions_of(pictures, 5, False)[:4]
    budget = PictureBudget(256, 256, 4096)
    ballots = [[budget.fit(one) for one in write_ballots(Asking(), question)] for question in asked]
    place = f"{torch.cuda.get_device_name()}, {where('torch', 'transformers')}"
    found = []
    for said, share in (("prefix shared by two orders", True), ("every ballot alone", False)):
        score = OneForward(torch, model, words, processor, share=share)
        spent = []
        for _ in range(4):
            score._features.clear()
            started = time.perf_counter()
            score(ballots)
            torch.cuda.synchronize()
            spent.append(time.perf_counter() - started)
        rate = len(asked) / float(np.median(spent[1:]))
        on = "Qwen2-VL-7B's shapes, random weights, bfloat16, 256 visual tokens, 5 options, batches of 4"
        found.append(Row(f"GPU reranks: {said}", round(rate, 2), "questions/s", None, "higher", on, place, COMMAND))
    return found


def rows(quick: bool = False) -> list[Row]:
    """The real shapes on CUDA; nothing where there is none."""
    if not torch.cuda.is_available():
        print("no CUDA device here: the GPU part is left out")
        return []
    with tempfile.TemporaryDirectory() as name:
        return of_shape(SO400M, "cuda", BATCHES[:2] if quick else BATCHES, Path(name), 64 if quick else 512)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", nargs="?", type=Path)
    parser.add_argument("--device", default="cuda")
    asked = parser.parse_args()
    if asked.device == "cpu":
        with tempfile.TemporaryDirectory() as place:
            for row in of_shape(TINY, "cpu", (1, 2), Path(place), 16):
                print(f"{row.name}: {row.value:g} {row.unit} ({row.against})")
    else:
        write_rows("gpu", rows() + (questions(asked.tokenizer, asked.device) if asked.tokenizer else []))
