"""The cost of durability: time to build a durable index relative to a `.npz` file.

The encoder is the real MobileNetV2 through ONNX. The two builds alternate in one process; encoder and files are warm.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.accuracy import mobilenet
from benchmarks.rows import Row, where, write_rows
from lmm_classifier.index.build.builder import build_index_from_directory

COMMAND = "python -m benchmarks.durability --data DATA --models MODELS"


def relative_build_time(data: Path, models: Path, rounds: int) -> tuple[float, float]:
    """Return the median of the ratios of consecutive builds (durable index to `.npz`), and their range."""
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        config = mobilenet(models, work)
        build_index_from_directory(data / "clothing/train", work / "warm.npz", config=config)
        for number in range(rounds):
            seconds = {}
            for kind in ("index", "index.npz") if number % 2 else ("index.npz", "index"):
                shutil.rmtree(work / kind, ignore_errors=True)
                started = time.perf_counter()
                build_index_from_directory(data / "clothing/train", work / kind, config=config)
                seconds[kind] = time.perf_counter() - started
            ratios.append(seconds["index"] / seconds["index.npz"])
            print(f"durable index {seconds['index']:.2f} s, npz {seconds['index.npz']:.2f} s", flush=True)
    return statistics.median(ratios), max(ratios) - min(ratios)


def main() -> None:
    """Measure and write benchmarks/results/durability.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/")
    parser.add_argument("--models", type=Path, required=True, help="folder with mobilenet_v2/model.onnx")
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    ratio, spread = relative_build_time(arguments.data, arguments.models, arguments.rounds)
    against = f"clothing, 1,817 images, MobileNetV2; {arguments.rounds} pairs of builds, spread {spread:.3f}"
    name = "build time of a durable index relative to .npz"
    write_rows("durability", [Row(name, round(ratio, 3), "x", 1.05, "lower", against, where("onnxruntime"), COMMAND)])


if __name__ == "__main__":
    main()
