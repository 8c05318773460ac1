"""Peak memory of a build at 2,000 and at 20,000 pictures: it must not grow with the corpus."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.rows import Row, where, write_rows

COMMAND = "python -m benchmarks.build_memory"
CHILD = """
import resource, sys
from pathlib import Path
from lmm_classifier import PipelineConfig, build_index_from_directory
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = build_index_from_directory(Path(sys.argv[1]), Path(sys.argv[2]), config=PipelineConfig.offline())
print(report.total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, report.seconds)
"""


def draw(root: Path, count: int, labels: int = 20) -> None:
    """Write `count` small pictures, no two the same: shapes of noise at several scales."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"label{number % labels:02}"
        folder.mkdir(parents=True, exist_ok=True)
        grain = 2 ** (1 + number % labels % 5)
        pixels = rng.integers(0, 256, (96 // grain, 128 // grain, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((128, 96), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg")


def measure(count: int, work: Path, output: str) -> tuple[float, float]:
    """Peak resident memory in MB and seconds of a build in a fresh process."""
    corpus = work / f"corpus{count}"
    if not corpus.exists():
        draw(corpus, count)
    command = [sys.executable, "-c", CHILD, str(corpus), str(work / output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    total, peak, seconds = done.stdout.split()
    assert int(total) == count, done.stderr
    return int(peak) / (1024 if sys.platform != "darwin" else 1024**2), float(seconds)


def main() -> None:
    """Measure and write benchmarks/results/build_memory.json."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for output, form in (("index.npz", ".npz"), ("index", "durable index")):
            small, _ = measure(2_000, Path(name), f"2000{output}")
            large, seconds = measure(20_000, Path(name), f"20000{output}")
            on = f"descriptor (2,484 numbers a picture), {form}, a fresh process each"
            figures = [
                ("peak memory, 2,000 pictures", round(small), "MB", None),
                ("peak memory, 20,000 pictures", round(large), "MB", None),
                ("peak memory, 20,000 : 2,000", round(large / small, 2), "x", 1.25),
            ]
            rows += [Row(f"{what}, {form}", *rest, "lower", on, where(), COMMAND) for what, *rest in figures]
            rate = round(20_000 / seconds)
            rows.append(Row(f"rate at 20,000, {form}", rate, "pictures/s", None, "higher", on, where(), COMMAND))
    write_rows("build_memory", rows)


if __name__ == "__main__":
    main()
