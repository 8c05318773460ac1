"""Whole builds, and classifying a whole folder, against the encoder alone on pictures that are ready.

The encoder is OpenVINO with random weights of the real shapes; the index that is searched holds 20,000 vectors of 100
labels and is calibrated, so its rule is the default one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.real_shapes import BASE, SO400M, Shape, photographs
from benchmarks.rows import Row, where, write_rows
from benchmarks.side_by_side import in_turns, ratio
from lmm_classifier.cli.calibrate import run_calibrate
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.protocols import Encoder, FloatArray, Prepared
from lmm_classifier.data.images import read_picture
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.pipeline.calibrator import Wish
from lmm_classifier.pipeline.classifier import HybridClassifier

COMMAND = "python -m benchmarks.performance --only end_to_end"


class Timed:
    """An encoder that notes how long it is at work."""

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner
        self.busy = 0.0

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def encode(self, prepared: Sequence[Prepared]) -> FloatArray:
        """As it does, timed."""
        started = time.perf_counter()
        vectors = self._inner.encode(prepared)
        self.busy += time.perf_counter() - started
        return vectors


def corpus_vectors(dim: int, count: int, labels: int) -> tuple[FloatArray, list[str]]:
    """Unit rows around one centre per label, (count, dim), and their labels."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((labels, dim), dtype=np.float32)
    numbers = np.arange(count) % labels
    rows = centres[numbers] + 0.8 * rng.standard_normal((count, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), [f"label{number:03}" for number in numbers]


def make_index(path: Path, fingerprint: Fingerprint, count: int, labels: int) -> None:
    """Write such an index, and calibrate it."""
    vectors, names = corpus_vectors(fingerprint.dim, count, labels)
    manifest = Manifest(fingerprint, "identity", count, "corpus", "2026-01-01", "0")
    ids = [f"{name}/{number:05}.jpg" for number, name in enumerate(names)]
    hashes = [f"{number:064x}" for number in range(count)]
    write_index(path, Contents(manifest, names, ids, hashes, {}, lambda: [vectors]))
    config = PipelineConfig()
    config.retrieval.index_path, config.retrieval.text = path, "off"
    run_calibrate(path, config, Wish())


def of_shape(shape: Shape, work: Path, count: int, rounds: int, indexed: int) -> list[Row]:
    """Rows for one tower."""
    checkpoint = shape.save(work / "checkpoint")
    paths = photographs(work / "pictures", count, (640, 480))
    encoder = open_encoder(EncoderConfig(backend="openvino", model=str(checkpoint), converted_dir=work / "converted"))
    ready = [encoder.prepare(read_picture(path, min_side=encoder.image_size).image) for path in paths]
    step = encoder.batch_size
    timed, walls, busy = Timed(encoder), list[float](), list[float]()
    numbers = iter(range(10_000))

    def alone() -> None:
        for start in range(0, count, step):
            encoder.encode(ready[start : start + step])

    def build() -> None:
        timed.busy, started = 0.0, time.perf_counter()
        build_index_from_directory(work / "pictures", work / f"index{next(numbers)}", encoder=timed)  # type: ignore[arg-type]
        walls.append(time.perf_counter() - started)
        busy.append(timed.busy)

    make_index(work / "searched", encoder.fingerprint, indexed, 100)
    config = PipelineConfig()
    config.retrieval.index_path, config.rerank.enabled = work / "searched", False
    config.retrieval.text = "off"  # as it was calibrated
    classifier = HybridClassifier(config, encoder)

    def classify() -> None:
        for _ in classifier.classify_paths(paths):
            pass

    times = in_turns({"alone": alone, "build": build, "classify": classify}, rounds)
    on = f"{count} JPEGs of 640x480, SigLIP {shape.name}, OpenVINO {encoder.fingerprint.dtype}, random weights"
    place, found = where("openvino"), []
    value, spread = ratio(times["alone"], times["build"])
    name = f"end to end {shape.name}: build : the encoder alone"
    said = f"{on}; alone {count / times['alone'].median:.2f}/s"
    found.append(Row(name, round(100 * value, 1), "%", 95.0, "higher", said, place, COMMAND, _percent(spread)))
    shares = [100 * one / wall for one, wall in zip(busy[1:], walls[1:])]
    name = f"end to end {shape.name}: encoder busy during a build"
    spread = f"{min(shares):.3g} to {max(shares):.3g}"
    found.append(Row(name, round(float(np.median(shares)), 1), "%", 95.0, "higher", on, place, COMMAND, spread))
    value, spread = ratio(times["build"], times["classify"])
    name = f"end to end {shape.name}: classify a folder : build"
    said = f"{on}; an index of {indexed:,} x {encoder.fingerprint.dim}, 100 labels, calibrated"
    found.append(Row(name, round(100 * value, 1), "%", 95.0, "higher", said, place, COMMAND, _percent(spread)))
    return found


def _percent(spread: str) -> str:
    least, most = (100 * float(one) for one in spread.split(" to "))
    return f"{least:.3g} to {most:.3g}"


def rows(quick: bool = False) -> list[Row]:
    """Both towers."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        found += of_shape(BASE, work / "base", 16 if quick else 64, 2 if quick else 5, 2000 if quick else 20_000)
        if not quick:
            found += of_shape(SO400M, work / "so400m", 8, 3, 20_000)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    write_rows("end_to_end", rows(parser.parse_args().quick))
