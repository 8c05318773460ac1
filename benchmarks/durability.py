"""What durability costs: building into the durable store against a `.npz` file, and opening a large index.

The encoder is the real MobileNetV2 through ONNX. The two builds alternate in one process; encoder and files are warm.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.accuracy import mobilenet
from benchmarks.rows import Row, where, write_rows
from lmm_classifier.datatypes import Fingerprint
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.exact import ExactIndex
from lmm_classifier.index.forms import write_index
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.records import CORPUS, Record
from lmm_classifier.index.store import Change, Store
from lmm_classifier.index_builder import build_index_from_directory
from lmm_classifier.testing import unit_rows

COMMAND = "python -m benchmarks.durability --data DATA --models MODELS"
ROWS, DIM, LABELS = 20_000, 1152, 100


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


def made_index(path: Path) -> None:
    """An index of SigLIP's size, of made vectors."""
    vectors = unit_rows(np.random.default_rng(0), ROWS, DIM)
    paths = sorted(f"label_{number % LABELS:03}/folder/IMG_{number:06}.jpg" for number in range(ROWS))
    labels = [one.partition("/")[0] for one in paths]
    hashes = [hashlib.sha256(one.encode()).hexdigest() for one in paths]
    fingerprint = Fingerprint("made", "made", "1", "none", DIM, "float32")
    manifest = Manifest(fingerprint, "identity", ROWS, "corpus", "2026-01-01", "0")
    blocks = [vectors[start : start + 1024] for start in range(0, ROWS, 1024)]
    write_index(path, Contents(manifest, labels, paths, hashes, {}, lambda: blocks))


def opening(rounds: int) -> dict[str, float]:
    """Milliseconds: to open, to open and check the matrix, to open after one addition, and to open a `.npz`."""
    with tempfile.TemporaryDirectory() as name:
        index, archive = Path(name) / "index", Path(name) / "index.npz"
        made_index(index)
        made_index(archive)
        ExactIndex.open(index)  # makes the derived files
        found: dict[str, list[float]] = {"open": [], "check": [], "npz": [], "added": []}
        for number in range(rounds):
            started = time.perf_counter()
            opened = ExactIndex.open(index)
            found["open"].append(time.perf_counter() - started)
            opened.gallery  # noqa: B018
            found["check"].append(time.perf_counter() - started)
            started = time.perf_counter()
            ExactIndex.open(archive)
            found["npz"].append(time.perf_counter() - started)
            with Store(index) as store:
                manifest, content = opened.manifest, f"new{number}"
                store.keep(
                    manifest.fingerprint.space_id, [(content, unit_rows(np.random.default_rng(number), 1, DIM)[0])]
                )
                record = Record(f"label_000/{content}.jpg", "label_000", content, 1, 1, "2026-01-01", CORPUS)
                store.commit(Change([record]), manifest)
            started = time.perf_counter()
            ExactIndex.open(index)
            found["added"].append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=6)
    asked = parser.parse_args()
    here = where("onnxruntime")
    ratio, spread = cost_of_building(asked.data, asked.models, asked.rounds)
    took = opening(asked.rounds)
    size = f"{ROWS:,} x {DIM}"

    def row(name: str, value: float, unit: str, goal: float | None, against: str) -> Row:
        return Row(name, round(value, 3), unit, goal, "lower", against, here, COMMAND)

    against = f"building into .npz, clothing, 1,817 pictures, MobileNetV2; {asked.rounds} pairs, spread {spread:.3f}"
    write_rows(
        "durability",
        [
            row("building into the durable store", ratio, "x", 1.05, against),
            row(f"opening {size}", took["open"], "ms", 50, "derived files current, memory-mapped"),
            row(f"opening {size} and checking the matrix", took["check"], "ms", None, "all checksums, at first use"),
            row(f"opening {size} after one addition", took["added"], "ms", None, "new derived files are made"),
            row(f"opening {size} as .npz", took["npz"], "ms", None, "read into memory"),
        ],
    )


if __name__ == "__main__":
    main()
