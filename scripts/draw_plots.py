"""Draws docs/images/plots/*.png: every display of `lmm_classifier.plots`, of an evaluation and a calibration made here.

`python -m scripts.draw_plots [FOLDER]`. The images are drawn patterns, and three encoders without a model are fused, so
that there is a ladder. With `--dark` the style is that of a dark notebook.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier import (
    CalibrationReport,
    Evaluation,
    FunctionEncoder,
    HybridClassifier,
    PipelineConfig,
    build_index_from_directory,
    calibrate_index,
    evaluate_folder,
)
from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN, draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.plots import (
    ConfusionDisplay,
    CostLadderDisplay,
    ReliabilityDisplay,
    RiskCoverageDisplay,
    UnknownsDisplay,
)

TARGET = Path(__file__).parents[1] / "docs/images/plots"
SIZE = 48  # pixels of an image: few, so that some are mistaken


def draw_images(folder: Path, labels: Sequence[str], count: int, seed: int, name: str | None = None) -> None:
    """Draw `folder/<label>/NN.png`; with `name` all are of that label."""
    for number, label in enumerate(labels):
        rng = np.random.default_rng((seed, number))
        place = folder / (name or label)
        place.mkdir(parents=True, exist_ok=True)
        for position in range(count):
            draw(label, rng, SIZE).save(place / f"{label}{position:02}.png")


def encoders() -> list[DescriptorEncoder | FunctionEncoder]:
    """Return a cheap, a better and the best encoder."""

    def gray(image: Image.Image, side: int) -> NDArray[np.float32]:
        return np.asarray(image.convert("L").resize((side, side)), np.float32) / 255

    def spectrum(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.abs(np.fft.rfft2(batch - batch.mean(axis=(1, 2), keepdims=True))).reshape(len(batch), -1)
        return np.asarray(np.log1p(found) + 1e-6, np.float32)

    return [
        FunctionEncoder(spectrum, "spectrum 16", 16 * 9, lambda image: gray(image, 16)),
        FunctionEncoder(spectrum, "spectrum 48", 48 * 25, lambda image: gray(image, 48)),
        DescriptorEncoder(),
    ]


def results(folder: Path) -> tuple[Evaluation, float, CalibrationReport]:
    """Return an evaluation, the threshold of familiarity, and a calibration with ladders."""
    draw_images(folder / "images", KNOWN, 8, 0)
    draw_images(folder / "test", KNOWN, 15, 1)
    draw_images(folder / "test", UNKNOWN, 30, 2, "unknown")
    config = PipelineConfig.offline()
    config.retrieval.index_path = folder / "index"
    build_index_from_directory(folder / "images", folder / "index", config=config)
    calibrate_index(folder / "index", config)
    with HybridClassifier(config) as classifier:
        evaluation = evaluate_folder(folder / "test", classifier)
        threshold = classifier.thresholds.novelty.value
    fused = config.model_copy(deep=True)
    fused.retrieval.index_path = folder / "fused"
    build_index_from_directory(folder / "images", folder / "fused", config=fused, encoder=encoders())
    return evaluation, threshold, calibrate_index(folder / "fused", fused)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw all displays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=TARGET)
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args(arguments)
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import style

    if options.dark:
        style.use("dark_background")
    with tempfile.TemporaryDirectory() as name:
        evaluation, threshold, report = results(Path(name))
    displays = {
        "reliability": ReliabilityDisplay.from_evaluation(evaluation),
        "risk-coverage": RiskCoverageDisplay.from_evaluation(evaluation),
        "confusion": ConfusionDisplay.from_evaluation(evaluation),
        "unknowns": UnknownsDisplay.from_evaluation(evaluation, threshold=threshold),
        "cost-ladder": CostLadderDisplay.from_calibration(report),
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    for title, display in displays.items():
        path = options.folder / f"{title}.png"
        display.figure_.savefig(path, dpi=100, metadata={"Software": None})
        sys.stdout.write(f"wrote: {path}\n")


if __name__ == "__main__":
    main()
