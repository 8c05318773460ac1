"""Measures the weight-free encoder: its speed beside another implementation, its accuracy on two sets of photographs.

    OMP_NUM_THREADS=1 python -m benchmarks.descriptor --prototype FILE.py --data DIR

FILE.py has `encode(image) -> blocks`, `flat(blocks) -> row`, and `Whiten().fit(rows)`, which maps rows to unit rows.
DIR holds clothing/{train,validation}/<label>/ and trashnet/<label>/. The results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.voting import TopMeanPrototype

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.descriptor --prototype FILE.py --data DIR"
RESULTS = Path(__file__).parent / "results" / "descriptor.json"
SPLITS = 5
ROUNDS = 15

Rows = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """Rows (n, dim) of both encoders, in the same order, and the label of each."""

    ours: Rows
    theirs: Rows
    labels: Ids

    def part(self, rows: Ids) -> Labelled:
        """Take some of the rows."""
        return Labelled(self.ours[rows], self.theirs[rows], self.labels[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prototype", type=Path, required=True, help="the implementation to compare with")
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/ and trashnet/")
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit(f"speed is measured on one thread: {COMMAND}")
    prototype = load_prototype(arguments.prototype)
    rows = [speed(arguments.data, prototype), *accuracies(arguments.data, prototype)]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps([row | {"where": where(), "command": COMMAND} for row in rows], indent=2) + "\n")
    for row in rows:
        print(f"{row['name']}: {row['value']} {row['unit']} (goal >= {row['goal']}); {row['against']}")


def load_prototype(path: Path) -> ModuleType:
    spec = util.spec_from_file_location("prototype", path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path} is not a Python file")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def speed(data: Path, prototype: ModuleType) -> dict[str, Any]:
    """Encode the same decoded pictures in turn, many rounds; the ratio is the median over the rounds."""
    images = [small(read(path)) for path in sorted((data / "clothing" / "validation").glob("*/*.jpg"))[::8]]
    encoder = DescriptorEncoder()
    pair: tuple[Callable[[Image.Image], object], ...] = (
        lambda image: encoder.encode_images([image]),
        lambda image: prototype.flat(prototype.encode(image)),
    )
    seconds = np.array([[timed(encode, images) for encode in pair] for _ in range(ROUNDS + 1)])[1:]  # (ROUNDS, 2)
    ours, theirs = len(images) / np.median(seconds, axis=0)
    ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
    low, high = np.percentile(seconds[:, 1] / seconds[:, 0], [10, 90])
    against = (
        f"{ours:.0f} pictures/s against the reference's {theirs:.0f} in the same run, {len(images)} decoded pictures "
        f"of long side 256, one thread, {ROUNDS} alternating rounds (10th to 90th percentile {low:.2f} to {high:.2f})"
    )
    return result("descriptor speed", round(ratio, 2), "x", 1.0, against)


def timed(encode: Callable[[Image.Image], object], images: list[Image.Image]) -> float:
    start = time.perf_counter()
    for image in images:
        encode(image)
    return time.perf_counter() - start


def accuracies(data: Path, prototype: ModuleType) -> list[dict[str, Any]]:
    train, validation = (labelled(data / "clothing" / split, prototype) for split in ("train", "validation"))
    clothing = accuracy_of_both(train, validation, prototype)
    trash = labelled(data / "trashnet", prototype)
    splits = [stratified(trash.labels, seed) for seed in range(SPLITS)]
    runs = np.array([accuracy_of_both(trash.part(a), trash.part(b), prototype) for a, b in splits])  # (SPLITS, 2)
    ours, theirs = runs.mean(axis=0)
    note = f"reference {{:.1f}} on the same {len(validation.labels)} pictures, {len(train.labels)} examples"
    spread = f"reference {theirs:.1f}; {SPLITS} splits, ours {runs[:, 0].min():.1f} to {runs[:, 0].max():.1f}"
    return [
        result("descriptor accuracy, clothing", round(clothing[0], 1), "%", 76.0, note.format(clothing[1])),
        result("descriptor accuracy, trashnet 80/20", round(float(ours), 1), "%", 82.0, spread),
    ]


def labelled(folder: Path, prototype: ModuleType) -> Labelled:
    paths = sorted(folder.glob("*/*.jpg"))
    names = sorted({path.parent.name for path in paths})
    encoder = DescriptorEncoder()
    ours = np.concatenate([encoder.encode_images([read(path)]) for path in paths])
    theirs = np.stack([prototype.flat(prototype.encode(small(read(path)))) for path in paths])
    return Labelled(ours, theirs, np.array([names.index(path.parent.name) for path in paths], np.int64))


def stratified(labels: Ids, seed: int) -> tuple[Ids, Ids]:
    """Split the rows of every label 80/20."""
    random = np.random.default_rng(seed)
    train, test = [], []
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        cut = round(0.8 * len(rows))
        train.append(rows[:cut])
        test.append(rows[cut:])
    return np.concatenate(train), np.concatenate(test)


def accuracy_of_both(train: Labelled, test: Labelled, prototype: ModuleType) -> tuple[float, float]:
    """Percent right in the spaces fitted on the train part only: ours, the reference's."""
    space = DescriptorEncoder.space.fit(lambda: [train.ours])
    whiten = prototype.Whiten().fit(train.theirs)
    return (
        accuracy(space.transform(train.ours), train.labels, space.transform(test.ours), test.labels),
        accuracy(whiten(train.theirs), train.labels, whiten(test.theirs), test.labels),
    )


def accuracy(matrix: Rows, labels: Ids, queries: Rows, truth: Ids) -> float:
    """Percent right by the mean of the 3 best cosines of a label and the cosine to its mean."""
    gallery = Gallery(matrix, labels, int(labels.max()) + 1)
    scores = TopMeanPrototype(m=3).scores(gallery.compare(queries))
    return float((scores.argmax(axis=1) == truth).mean() * 100)


def read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def small(image: Image.Image) -> Image.Image:
    """Reduce to a long side of 256 pixels, which is what both implementations are meant to see."""
    scale = min(1.0, 256 / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR)


def result(name: str, value: float, unit: str, goal: float, against: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "goal": goal, "better": "higher", "against": against}


def where() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, Pillow {PIL.__version__}"
    return f"{cpu}, {os.cpu_count()} cores, {versions}"


if __name__ == "__main__":
    main()
