"""Whole builds, and classifying a whole folder, compared with the encoder alone on decoded images.

The encoder is OpenVINO with random weights of the real shapes. The searched index holds 20,000 vectors of 100 labels
and is calibrated, so its rule is the default one.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.real_shapes import BASE, SO400M, Shape, photographs
from benchmarks.rows import Row, run_part, where
from benchmarks.side_by_side import in_turns, ratio, value_range
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.protocols import Encoder, Preprocessed
from lmm_classifier.data.images import read_image
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier

COMMAND = "python -m benchmarks.performance --only end_to_end"


class TimedEncoder:
    """An encoder that measures how long it is busy."""

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner
        self.busy = 0.0  # seconds

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        """Encode, and add the time it took."""
        started = time.perf_counter()
        vectors = self._inner.encode(preprocessed)
        self.busy += time.perf_counter() - started
        return vectors


def random_dataset(dim: int, count: int, labels: int) -> tuple[Float32Array, list[str]]:
    """Return normalized embeddings around one center per label, (count, dim), and their labels."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((labels, dim), dtype=np.float32)
    label_ids = np.arange(count) % labels
    rows = centers[label_ids] + 0.8 * rng.standard_normal((count, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), [f"label{label:03}" for label in label_ids]


def make_index(path: Path, fingerprint: Fingerprint, count: int, labels: int) -> None:
    """Write an index of random embeddings, and calibrate it."""
    vectors, names = random_dataset(fingerprint.dim, count, labels)
    manifest = Manifest((EncoderEntry(fingerprint, "identity"),), count, "dataset", "2026-01-01", "0")
    ids = [f"{name}/{number:05}.jpg" for number, name in enumerate(names)]
    hashes = [f"{number:064x}" for number in range(count)]
    write_index(path, IndexContents(manifest, names, ids, hashes, (EncoderVectors({}, lambda: [vectors]),)))
    config = PipelineConfig()
    config.retrieval.index_path, config.retrieval.zero_shot_text = path, "off"
    calibrate_index(path, config, CalibrationRequest())


class Jobs:
    """The three jobs that are timed in turns: the encoder alone, a build, and classifying the folder."""

    def __init__(self, encoder: Encoder, paths: list[Path], work: Path) -> None:
        self.encoder, self.paths, self.work = encoder, paths, work
        self.busy: list[float] = []  # percent of each build
        self._preprocessed = [encoder.preprocess(read_image(path, min_side=encoder.image_size).image) for path in paths]
        self._numbers: Iterator[int] = itertools.count()
        config = PipelineConfig()
        config.retrieval.index_path, config.rerank.enabled = work / "searched", False
        config.retrieval.zero_shot_text = "off"  # as it was calibrated
        self._classifier = HybridClassifier(config, encoder)

    def all(self) -> dict[str, Callable[[], None]]:
        """Return the jobs by name."""
        return {"alone": self.encode, "build": self.build, "classify": self.classify}

    def encode(self) -> None:
        """Encode decoded images."""
        step = self.encoder.batch_size
        for start in range(0, len(self._preprocessed), step):
            self.encoder.encode(self._preprocessed[start : start + step])

    def build(self) -> None:
        """Build an index, and note the percentage of time in which the encoder was busy."""
        encoder, started = TimedEncoder(self.encoder), time.perf_counter()
        output = self.work / f"index{next(self._numbers)}"
        build_index_from_directory(self.work / "images", output, encoder=encoder)  # type: ignore[arg-type]
        self.busy.append(100 * encoder.busy / (time.perf_counter() - started))

    def classify(self) -> None:
        """Classify the folder."""
        for _ in self._classifier.classify_paths(self.paths):
            pass


def rows_of_shape(shape: Shape, work: Path, count: int, rounds: int, indexed: int) -> list[Row]:
    """Return the rows of one vision tower."""
    checkpoint = shape.save(work / "checkpoint")
    paths = photographs(work / "images", count, (640, 480))
    encoder = open_encoder(EncoderConfig(backend="openvino", model=str(checkpoint), converted_dir=work / "converted"))
    make_index(work / "searched", encoder.fingerprint, indexed, 100)
    jobs = Jobs(encoder, paths, work)
    times = in_turns(jobs.all(), rounds)
    data = f"{count} JPEGs of 640x480, SigLIP {shape.name}, OpenVINO {encoder.fingerprint.dtype}, random weights"

    def row(name: str, value: float, spread: str, against: str) -> Row:
        full_name = f"end to end {shape.name}: {name}"
        place = where("openvino")
        return Row(full_name, round(value, 1), "%", 95.0, "higher", against, place, COMMAND, spread)

    build, build_spread = ratio(times["alone"], times["build"])
    classify, classify_spread = ratio(times["build"], times["classify"])
    busy = jobs.busy[1:]  # the first build was not timed
    alone = f"{data}; alone {count / times['alone'].median:.2f}/s"
    searched = f"{data}; an index of {indexed:,} x {encoder.fingerprint.dim}, 100 labels, calibrated"
    return [
        row("build, speed relative to the encoder alone", 100 * build, _percent(build_spread), alone),
        row("time in which the encoder is busy during a build", float(np.median(busy)), value_range(busy), data),
        row("classify a folder, speed relative to a build", 100 * classify, _percent(classify_spread), searched),
    ]


def _percent(spread: str) -> str:
    return value_range([100 * float(value) for value in spread.split(" to ")])


def rows(quick: bool = False) -> list[Row]:
    """Measure both towers."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        indexed = 2000 if quick else 20_000
        measured = rows_of_shape(BASE, work / "base", 16 if quick else 64, 2 if quick else 5, indexed)
        if not quick:
            measured += rows_of_shape(SO400M, work / "so400m", 8, 3, indexed)
    return measured


if __name__ == "__main__":
    run_part("end_to_end", __doc__, rows)
