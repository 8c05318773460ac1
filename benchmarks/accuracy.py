"""Accuracy of the whole pipeline on photographs (ONNX MobileNetV2 with `rule: knn`) and on the drawn demo.

The descriptor has a benchmark of its own (benchmarks/descriptor.py).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.rows import Better, Row, where, write_rows
from lmm_classifier.config import PipelineConfig
from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN, draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier

COMMAND = "python -m benchmarks.accuracy --data DATA --models MODELS"
SEEDS = 5
EXAMPLES, NEW = 12, 8  # images per pattern, as many as the demo draws
MOBILENET = """size: 224
fit: crop
resize: 256
resample: bilinear
mean: [0.5, 0.5, 0.5]
std: [0.5, 0.5, 0.5]
"""


def accuracy(config: PipelineConfig, dataset: Path, new: Path, output: Path) -> tuple[float, float]:
    """Return the percentages of correct and of reranked images, for images `new/<label>/**`."""
    config.retrieval.index_path = output
    build_index_from_directory(dataset, output, config=config)
    paths = sorted(path for path in new.rglob("*") if path.is_file())
    results = list(HybridClassifier(config).classify_paths(paths))
    correct = [result.label == path.relative_to(new).parts[0] for path, result in zip(paths, results)]
    return _percent(correct), _percent([result.used_reranker for result in results])


def mobilenet(models: Path, work: Path) -> PipelineConfig:
    """Return a configuration of the ONNX encoder, with its preprocessing next to the model."""
    folder = work / "mobilenet"
    folder.mkdir()
    (folder / "model.onnx").symlink_to((models / "mobilenet_v2/model.onnx").resolve())
    (folder / "model.yaml").write_text(MOBILENET, encoding="utf-8")
    config = PipelineConfig(allow_unknown=False)
    config.encoder.backend = "onnx"
    config.encoder.model = str(folder / "model.onnx")
    config.rerank.enabled = False
    config.retrieval.rule = "knn"
    return config


def draw_images(root: Path, labels: tuple[str, ...], count: int, seed: int) -> Path:
    """Draw images as the demo does."""
    for number, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        rng = np.random.default_rng((seed, number))
        for image in range(count):
            draw(label, rng).save(root / label / f"{image:02}.jpg", quality=90)
    return root


def demo_rows(work: Path) -> list[Row]:
    """Classify the known patterns and the unknown images of the demo, with the offline configuration."""
    correct, rejected, reranked = [], [], []
    for seed in range(SEEDS):
        folder = work / f"demo{seed}"
        dataset = draw_images(folder / "dataset", KNOWN, EXAMPLES, 2 * seed)
        new = draw_images(folder / "new", KNOWN, NEW, 2 * seed + 1)
        unknowns = draw_images(folder / "unknowns", UNKNOWN, NEW, 2 * seed + 1)
        config = PipelineConfig.offline()
        correct_percent, reranked_percent = accuracy(config, dataset, new, folder / "index.npz")
        results = HybridClassifier(config).classify_paths(sorted(unknowns.rglob("*.jpg")))
        correct.append(correct_percent)
        reranked.append(reranked_percent)
        rejected.append(_percent([result.is_unknown for result in results]))
    data = f"the demo, {SEEDS} seeds: {len(KNOWN)} patterns, {EXAMPLES} examples and {NEW} new images each"

    def row(name: str, percentages: list[float], goal: float | None, better: Better) -> Row:
        value = round(float(np.mean(percentages)), 1)
        return Row(f"demo, {name}", value, "%", goal, better, data, where(), COMMAND)

    return [
        row("accuracy on known patterns", correct, 85, "higher"),
        row("unknown images rejected", rejected, None, "higher"),
        row("reranked images", reranked, None, "lower"),
    ]


def clothing_row(data: Path, models: Path, work: Path) -> Row:
    """Classify the validation part of the clothing dataset."""
    value, _ = accuracy(
        mobilenet(models, work), data / "clothing/train", data / "clothing/validation", work / "clothing.npz"
    )
    against = "clothing: examples from train, 341 images from validation; kNN-5 on the same vectors 80.4"
    return Row(
        "MobileNetV2 with rule knn, clothing",
        round(value, 1),
        "%",
        81,
        "higher",
        against,
        where("onnxruntime"),
        COMMAND,
    )


def _percent(flags: Sequence[bool]) -> float:
    return 100 * float(np.mean(flags))


def main() -> None:
    """Measure and write benchmarks/results/accuracy.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/")
    parser.add_argument("--models", type=Path, required=True, help="folder with mobilenet_v2/model.onnx")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        rows = [clothing_row(arguments.data, arguments.models, work), *demo_rows(work)]
    write_rows("accuracy", rows)


if __name__ == "__main__":
    main()
