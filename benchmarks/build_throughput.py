"""Pictures per second of a whole build against the naive loop of transformers on the same weights, one at a time.

The weights are random, of the real shape of SigLIP base/16 at 224 px: speed does not depend on their values, and
nothing is downloaded. Both ways read the same JPEG files and run in one process, alternating.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModel, SiglipConfig, SiglipImageProcessorPil, SiglipModel

from benchmarks.rows import Row, where, write_rows
from lmm_classifier.config import PipelineConfig
from lmm_classifier.index_builder import build_index_from_directory
from lmm_classifier.patterns import KNOWN, draw

COMMAND = "python -m benchmarks.build_throughput"


def make_checkpoint(folder: Path) -> None:
    """Save SigLIP base/16 at 224 px with random weights; the text tower is kept small, it is not used."""
    torch.manual_seed(0)
    small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={**small, "projection_size": 768}, vision_config={"image_size": 224, "patch_size": 16}
    )
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 224, "width": 224}).save_pretrained(folder)


def make_corpus(root: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Draw JPEG pictures of the given size in pixels."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        label = KNOWN[number % len(KNOWN)]
        path = root / label / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(label, rng, 320).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


@torch.inference_mode()
def naive_loop(folder: Path, paths: list[Path]) -> float:
    """Seconds that the loop of many tutorials takes: open, process, forward, normalise, one picture at a time."""
    model = AutoModel.from_pretrained(folder).eval()
    processor = SiglipImageProcessorPil.from_pretrained(folder)
    started = time.perf_counter()
    for path in paths:
        inputs = processor(images=Image.open(path).convert("RGB"), return_tensors="pt")
        vector = model.get_image_features(**inputs).pooler_output
        (vector / vector.norm(dim=-1, keepdim=True)).numpy()
    return time.perf_counter() - started


def our_build(folder: Path, corpus: Path, output: Path, dtype: str) -> float:
    """Seconds of a build from folder to index, without loading the model, as above."""
    config = PipelineConfig()
    config.encoder.model = str(folder)
    config.encoder.dtype = dtype  # type: ignore[assignment]
    report = build_index_from_directory(corpus, output, config=config)
    return report.seconds - report.stages["load encoder"]


def compare(work: Path, count: int, size: tuple[int, int], repeats: int) -> list[Row]:
    """Rows for pictures of one size."""
    checkpoint = work / "siglip"
    corpus = work / f"corpus{size[0]}"
    paths = make_corpus(corpus, count, size)
    times: dict[str, list[float]] = {"naive": [], "auto": [], "float32": []}
    for _ in range(repeats):
        times["naive"].append(naive_loop(checkpoint, paths))
        for dtype in ("auto", "float32"):
            times[dtype].append(our_build(checkpoint, corpus, work / "index.npz", dtype))
    middle = {name: statistics.median(values) for name, values in times.items()}
    on = f"{count} JPEGs of {size[0]}x{size[1]}, SigLIP base/16@224, naive loop {count / middle['naive']:.1f}/s"
    place = where("torch", "transformers")
    return [
        Row(
            f"build : naive loop, dtype {dtype}, {size[0]}x{size[1]}",
            round(middle["naive"] / middle[dtype], 2),
            "x",
            1.0,
            "higher",
            on,
            place,
            COMMAND,
        )
        for dtype in ("auto", "float32")
    ]


def main() -> None:
    """Measure and write benchmarks/results/build_throughput.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_checkpoint(work / "siglip")
        rows = compare(work, asked.count, (640, 480), asked.repeats)
        rows += compare(work, asked.count, (4000, 3000), asked.repeats)
    write_rows("build_throughput", rows)


if __name__ == "__main__":
    main()
