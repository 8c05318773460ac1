"""Speed of the weight-free encoder relative to another implementation, and its accuracy on two sets of photographs.

    OMP_NUM_THREADS=1 python -m benchmarks.descriptor --prototype FILE.py --data DIR

FILE.py defines `encode(image) -> blocks`, `flat(blocks) -> row`, and `Whiten().fit(rows)`, which maps rows to
normalized embeddings. DIR holds clothing/{train,validation}/<label>/ and trashnet/<label>/. The results are written to
benchmarks/results/descriptor.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.rows import Row, where, write_rows
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.voting import TopKMeanPrototype

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.descriptor --prototype FILE.py --data DIR"
SPLITS = 5
ROUNDS = 15

Rows = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class LabeledRows:
    """Vectors (n, dim) of both encoders, in the same order, and the label of each."""

    own: Rows
    reference: Rows
    labels: Ids

    def at(self, rows: Ids) -> LabeledRows:
        """Return some of the rows."""
        return LabeledRows(self.own[rows], self.reference[rows], self.labels[rows])


def main() -> None:
    """Measure and write benchmarks/results/descriptor.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prototype", type=Path, required=True, help="the implementation to compare with")
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/ and trashnet/")
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        sys.exit(f"Speed is measured on one thread: {COMMAND}")
    prototype = load_prototype(arguments.prototype)
    write_rows("descriptor", [speed_row(arguments.data, prototype), *accuracy_rows(arguments.data, prototype)])


def load_prototype(path: Path) -> ModuleType:
    spec = util.spec_from_file_location("prototype", path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path} is not a Python file.")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def speed_row(data: Path, prototype: ModuleType) -> Row:
    """Encode the same decoded images in turns, for many rounds. The ratio is the median over the rounds."""
    images = [small(read(path)) for path in sorted((data / "clothing" / "validation").glob("*/*.jpg"))[::8]]
    encoder = DescriptorEncoder()
    encoders: tuple[Callable[[Image.Image], object], ...] = (
        lambda image: encode_images(encoder, [image]),
        lambda image: prototype.flat(prototype.encode(image)),
    )
    seconds = np.array([[timed(encode, images) for encode in encoders] for _ in range(ROUNDS + 1)])[1:]  # (ROUNDS, 2)
    own_rate, reference_rate = len(images) / np.median(seconds, axis=0)
    ratio = float(np.median(seconds[:, 1] / seconds[:, 0]))
    low, high = np.percentile(seconds[:, 1] / seconds[:, 0], [10, 90])
    against = (
        f"{own_rate:.0f} images/s; reference implementation {reference_rate:.0f} images/s in the same run, "
        f"{len(images)} decoded images of long side 256, one thread, {ROUNDS} alternating rounds "
        f"(10th to 90th percentile {low:.2f} to {high:.2f})"
    )
    return make_row("descriptor: speed relative to the reference implementation", round(ratio, 2), "x", 1.0, against)


def timed(encode: Callable[[Image.Image], object], images: list[Image.Image]) -> float:
    start = time.perf_counter()
    for image in images:
        encode(image)
    return time.perf_counter() - start


def accuracy_rows(data: Path, prototype: ModuleType) -> list[Row]:
    train, validation = (labeled_rows(data / "clothing" / split, prototype) for split in ("train", "validation"))
    clothing = accuracy_of_both(train, validation, prototype)
    trash = labeled_rows(data / "trashnet", prototype)
    splits = [stratified(trash.labels, seed) for seed in range(SPLITS)]
    runs = np.array([accuracy_of_both(trash.at(a), trash.at(b), prototype) for a, b in splits])  # (SPLITS, 2)
    own, reference = runs.mean(axis=0)
    on_clothing = (
        f"reference implementation {clothing[1]:.1f} on the same {len(validation.labels)} images, "
        f"{len(train.labels)} examples"
    )
    on_trashnet = (
        f"reference implementation {reference:.1f}; {SPLITS} splits, this program {runs[:, 0].min():.1f} to "
        f"{runs[:, 0].max():.1f}"
    )
    return [
        make_row("descriptor: accuracy, clothing", round(clothing[0], 1), "%", 76.0, on_clothing),
        make_row("descriptor: accuracy, trashnet 80/20", round(float(own), 1), "%", 82.0, on_trashnet),
    ]


def labeled_rows(folder: Path, prototype: ModuleType) -> LabeledRows:
    paths = sorted(folder.glob("*/*.jpg"))
    names = sorted({path.parent.name for path in paths})
    encoder = DescriptorEncoder()
    own = np.concatenate([encode_images(encoder, [read(path)]) for path in paths])
    reference = np.stack([prototype.flat(prototype.encode(small(read(path)))) for path in paths])
    return LabeledRows(own, reference, np.array([names.index(path.parent.name) for path in paths], np.int64))


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


def accuracy_of_both(train: LabeledRows, test: LabeledRows, prototype: ModuleType) -> tuple[float, float]:
    """Return the accuracy in percent of this program and of the reference, each in a space fitted to `train` only."""
    transform = DescriptorEncoder.transform_fitter.fit(lambda: [train.own])
    whiten = prototype.Whiten().fit(train.reference)
    return (
        accuracy(transform.transform(train.own), train.labels, transform.transform(test.own), test.labels),
        accuracy(whiten(train.reference), train.labels, whiten(test.reference), test.labels),
    )


def accuracy(matrix: Rows, labels: Ids, queries: Rows, truth: Ids) -> float:
    """Return the accuracy in percent by the mean of a label's 3 best cosines and the cosine to its prototype."""
    gallery = Gallery(matrix, labels, int(labels.max()) + 1)
    scores = TopKMeanPrototype(3, 0.05).scores(gallery.compare(queries))
    return float((scores.argmax(axis=1) == truth).mean() * 100)


def read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def small(image: Image.Image) -> Image.Image:
    """Reduce an image to a long side of 256 pixels, the size that both implementations are meant for."""
    scale = min(1.0, 256 / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR)


def make_row(name: str, value: float, unit: str, goal: float, against: str) -> Row:
    return Row(name, value, unit, goal, "higher", against, where(), COMMAND)


if __name__ == "__main__":
    main()
