"""Peak memory of a build at 2,000 and at 50,000 images. It must not grow with the dataset.

The peak comes from fitting the transform of the descriptor. Below 2,484 images, the width of its vectors, another
computation is used, which takes about as much memory. So the additional memory per image can be negative.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.rows import Better, Row, run_part, where

COMMAND = "python -m benchmarks.build_memory"
CHILD = """
import resource, sys
from pathlib import Path
from lmm_classifier import PipelineConfig, build_index_from_directory
report = build_index_from_directory(Path(sys.argv[1]), Path(sys.argv[2]), config=PipelineConfig.offline())
status = Path("/proc/self/status")  # the peak of this process alone; getrusage counts its parent too
if status.exists():
    peak = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(report.total, peak, report.seconds)
"""
FORMATS = {"index.npz": ".npz", "index": "durable index"}


def draw(root: Path, count: int, labels: int = 20) -> None:
    """Write `count` small images, all different: noise at several scales."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"label{number % labels:02}"
        folder.mkdir(parents=True, exist_ok=True)
        grain = 2 ** (1 + number % labels % 5)
        pixels = rng.integers(0, 256, (96 // grain, 128 // grain, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((128, 96), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg")


def measure(dataset: Path, count: int, output: Path) -> tuple[float, float]:
    """Return the peak resident memory in MB and the seconds of a build in a new process."""
    if not dataset.exists():
        draw(dataset, count)
    command = [sys.executable, "-c", CHILD, str(dataset), str(output)]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    total, peak, seconds = process.stdout.split()
    assert int(total) == count, process.stderr
    return int(peak) / 1024, float(seconds)


def rows_of_format(output: str, sizes: tuple[int, int], work: Path) -> list[Row]:
    """Return the figures of one index format."""
    index_format, (few, many) = FORMATS[output], sizes
    small, _ = measure(work / f"dataset{few}", few, work / f"{few}{output}")
    large, seconds = measure(work / f"dataset{many}", many, work / f"{many}{output}")
    against = f"descriptor (2,484 numbers per image), {index_format}, one process per build"

    def row(name: str, value: float, unit: str, goal: float | None = None, better: Better = "lower") -> Row:
        return Row(f"build: {name}, {index_format}", value, unit, goal, better, against, where(), COMMAND)

    return [
        row(f"peak memory, {few:,} images", round(small), "MB"),
        row(f"peak memory, {many:,} images", round(large), "MB"),
        row(f"peak memory, {many:,} images relative to {few:,}", round(large / small, 2), "x", 1.1),
        row("additional peak memory per image", round((large - small) * 2**20 / (many - few)), "bytes"),
        row(f"rate at {many:,} images", round(many / seconds), "images/s", better="higher"),
    ]


def rows(quick: bool = False) -> list[Row]:
    """Measure both formats in ten minutes, or with `quick` in one, at 6,000 instead of 50,000 images."""
    sizes = (2_000, 6_000) if quick else (2_000, 50_000)
    with tempfile.TemporaryDirectory() as name:
        return [row for output in FORMATS for row in rows_of_format(output, sizes, Path(name))]


if __name__ == "__main__":
    run_part("build_memory", __doc__, rows)
