"""What durability costs: building into the durable store against a `.npz` file.

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


def cost_of_building(data: Path, models: Path, rounds: int) -> tuple[float, float]:
    """Seconds into the store over seconds into `.npz`: the median of the ratios of neighbouring builds, and spread."""
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
            print(f"store {seconds['index']:.2f} s, npz {seconds['index.npz']:.2f} s", flush=True)
    return statistics.median(ratios), max(ratios) - min(ratios)


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=6)
    asked = parser.parse_args()
    here = where("onnxruntime")
    ratio, spread = cost_of_building(asked.data, asked.models, asked.rounds)
    against = f"building into .npz, clothing, 1,817 pictures, MobileNetV2; {asked.rounds} pairs, spread {spread:.3f}"
    row = Row("building into the durable store", round(ratio, 3), "x", 1.05, "lower", against, here, COMMAND)
    write_rows("durability", [row])


if __name__ == "__main__":
    main()
