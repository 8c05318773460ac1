"""The first answer after one added example: how long it takes, with and without following in the background.

The vectors are random and of SigLIP's size. In the background the first answer comes from the former version, so the
time until the addition counts is measured too. Each figure is the median of several additions.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.rows import Row, run_part, where
from benchmarks.side_by_side import value_range
from benchmarks.vectors import DIM, FINGERPRINT, normalized, random_vectors
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.embeddings.whitening import IdentityFitter
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier

COMMAND = "python -m benchmarks.following"
_LABELS, _PATIENCE = 100, 600.0  # seconds


class SeededEncoder:
    """Gives an image of one color the vector with that number."""

    fingerprint, transform_fitter, image_size, batch_size = FINGERPRINT, IdentityFitter(), 16, 64

    def __init__(self, vectors: Float32Array) -> None:
        self._vectors = vectors

    def preprocess(self, image: Image.Image) -> Any:
        """Return the number that the color stands for."""
        red, green, blue = image.getpixel((0, 0))  # type: ignore[misc]
        return np.array([red << 16 | green << 8 | blue])

    def encode(self, preprocessed: Any) -> Float32Array:
        """Return the vectors."""
        return np.asarray(self._vectors[[int(number[0]) for number in preprocessed]], np.float32).reshape(-1, DIM)


def image_of(number: int) -> Image.Image:
    """Return the image with the vector of that number."""
    return Image.new("RGB", (16, 16), (number >> 16, number >> 8 & 255, number & 255))


def make_index(path: Path, count: int) -> Float32Array:
    """Write an index of so many examples; return further vectors like these."""
    rng = np.random.default_rng(1)
    embeddings, others = random_vectors(count, 64)
    centers = rng.normal(size=(_LABELS, DIM)).astype(np.float32) / np.float32(DIM**0.5)
    label_ids = np.sort(rng.integers(0, _LABELS, count))
    embeddings = normalized(embeddings + centers[label_ids])
    paths = [f"label {label:03}/{row:06}.jpg" for row, label in enumerate(label_ids)]
    labels = [path.partition("/")[0] for path in paths]
    hashes = [hashlib.sha256(path.encode()).hexdigest() for path in paths]
    manifest = Manifest((EncoderEntry(FINGERPRINT, "identity"),), count, "dataset", "2026-01-01", "0")
    write_index(path, IndexContents(manifest, labels, paths, hashes, (EncoderVectors({}, lambda: [embeddings]),)))
    return normalized(others + centers[rng.integers(0, _LABELS, 64)])


def seconds_after_additions(
    classifier: HybridClassifier, numbers: range, background: bool
) -> tuple[list[float], list[float], list[float]]:
    """Add examples; return the seconds to the next answer, until the example counts, and of the processor."""
    answers, visible, processor = [], [], []
    editor = classifier.editor()
    for number in numbers:
        editor.add([image_of(number)], "label 000")
        started, used = time.perf_counter(), time.process_time()
        classifier.classify(image_of(0))
        answers.append(time.perf_counter() - started)
        assert classifier.wait_for_index(_PATIENCE)
        visible.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
        assert background or visible[-1] < 2 * answers[-1] + 1
    return answers, visible, processor


def _row(name: str, seconds: list[float], goal: float | None, size: str) -> Row:
    value, spread = round(statistics.median(seconds), 3), value_range(seconds)
    return Row(name, value, "s", goal, "lower", size, where(), COMMAND, spread)


def rows(quick: bool = False) -> list[Row]:
    """Measure in about ten minutes; with `quick` on small indexes."""
    measured: list[Row] = []
    for count in (500, 2_000) if quick else (2_000, 20_000):
        for calibrated in (False, True):
            with tempfile.TemporaryDirectory() as name:
                measured += _rows_of(Path(name) / "index", count, calibrated)
    return measured


def _rows_of(path: Path, count: int, calibrated: bool) -> list[Row]:
    config = PipelineConfig.model_validate({"rerank": {"enabled": False}, "retrieval": {"index_path": str(path)}})
    encoder: Any = SeededEncoder(make_index(path, count))
    if calibrated:
        calibrate_index(path, config)
    kind, measured = "calibrated" if calibrated else "not calibrated", []
    slow = count > 5_000 and not calibrated  # each addition is followed by a whole fit
    with HybridClassifier(config, encoder) as classifier:
        classifier.classify(image_of(0))
        for background in (False, True):
            if background:
                classifier.follow_in_background()
            numbers = range(30, 36) if background else range(20, 21 if slow else 24)
            answers, visible, processor = seconds_after_additions(classifier, numbers, background)
            place = "in the background" if background else "by the next call"
            size = f"{count:,} x {DIM}, {_LABELS} labels, {kind}, followed {place}; {len(numbers)} additions"
            start = f"{count:,} examples, {kind}, followed {place}"
            measured.append(_row(f"{start}: first answer after one addition", answers, None, size))
            measured.append(_row(f"{start}: processor time of following it", processor, None, size))
            if background:
                measured.append(_row(f"{start}: until the addition counts", visible, 3.0, size))
    return measured


if __name__ == "__main__":
    run_part("following", __doc__, rows)
