"""Peak memory of a build at 2,000 and at 50,000 pictures: it must not grow with the corpus.

The peak is the fit of the descriptor's space. Below 2,484 pictures, the width of its rows, that is another computation,
which takes about as much: so "one more picture" can be below nothing.
"""

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
report = build_index_from_directory(Path(sys.argv[1]), Path(sys.argv[2]), config=PipelineConfig.offline())
status = Path("/proc/self/status")  # its peak is of this process alone, that of getrusage of who started it too
if status.exists():
    peak = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(report.total, peak, report.seconds)
"""
FORMS = {"index.npz": ".npz", "index": "durable index"}


def draw(root: Path, count: int, labels: int = 20) -> None:
    """Write `count` small pictures, no two the same: shapes of noise at several scales."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"label{number % labels:02}"
        folder.mkdir(parents=True, exist_ok=True)
        grain = 2 ** (1 + number % labels % 5)
        pixels = rng.integers(0, 256, (96 // grain, 128 // grain, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((128, 96), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg")


def measure(corpus: Path, count: int, output: Path) -> tuple[float, float]:
    """Peak resident memory in MB and seconds of a build in a fresh process."""
    if not corpus.exists():
        draw(corpus, count)
    command = [sys.executable, "-c", CHILD, str(corpus), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    total, peak, seconds = done.stdout.split()
    assert int(total) == count, done.stderr
    return int(peak) / 1024, float(seconds)


def of_form(output: str, sizes: tuple[int, int], work: Path) -> list[Row]:
    """The figures of one form of the index."""
    form, (few, many) = FORMS[output], sizes
    small, _ = measure(work / f"corpus{few}", few, work / f"{few}{output}")
    large, seconds = measure(work / f"corpus{many}", many, work / f"{many}{output}")
    on, here = f"descriptor (2,484 numbers a picture), {form}, a fresh process each", where()
    figures = [
        (f"build: peak memory, {few:,} pictures", round(small), "MB", None),
        (f"build: peak memory, {many:,} pictures", round(large), "MB", None),
        (f"build: peak memory, {many:,} : {few:,}", round(large / small, 2), "x", 1.1),
        ("build: peak memory of one more picture", round((large - small) * 2**20 / (many - few)), "bytes", None),
    ]
    rows = [Row(f"{what}, {form}", *rest, "lower", on, here, COMMAND) for what, *rest in figures]
    rate = round(many / seconds)
    return [*rows, Row(f"build: rate at {many:,}, {form}", rate, "pictures/s", None, "higher", on, here, COMMAND)]


def rows(quick: bool = False) -> list[Row]:
    """Measure both forms: ten minutes, or with `quick` one, at 6,000 instead of 50,000 pictures."""
    sizes = (2_000, 6_000) if quick else (2_000, 50_000)
    with tempfile.TemporaryDirectory() as name:
        return [row for output in FORMS for row in of_form(output, sizes, Path(name))]


def main() -> None:
    """Measure and write benchmarks/results/build_memory.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pictures")
    write_rows("build_memory", rows(parser.parse_args().quick))


if __name__ == "__main__":
    main()
