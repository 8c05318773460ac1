"""Build an index, calibrate it and classify new images: the whole way in one file.

Run it with `python examples/01_quickstart.py`. It draws its own images and needs no model.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from lmm_classifier import (
    CalibrationRequest,
    HybridClassifier,
    PipelineConfig,
    build_index_from_directory,
    calibrate_index,
)
from lmm_classifier.data.synthetic import draw

LABELS = ("argyle", "checkerboard", "gingham", "herringbone", "polka_dots", "stripes")
NEW = ("gingham", "stripes", "leopard")  # leopard is no label of the dataset


def draw_images(folder: Path) -> None:
    """Draw a labeled folder `photos/<label>/NN.png` and a few new images in `new/`."""
    for number, label in enumerate(LABELS):
        (folder / "photos" / label).mkdir(parents=True)
        rng = np.random.default_rng(number)
        for position in range(15):
            draw(label, rng).save(folder / "photos" / label / f"{position:02}.png")
    (folder / "new").mkdir()
    for number, label in enumerate(NEW):
        draw(label, np.random.default_rng(100 + number)).save(folder / "new" / f"{label}.png")


def main() -> None:
    """Build, calibrate, classify."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder)
        config = PipelineConfig.offline()  # PipelineConfig() takes SigLIP and Qwen2-VL
        config.retrieval.index_path = folder / "index"

        report = build_index_from_directory(folder / "photos", config.retrieval.index_path, config=config)
        print(f"{report.total} images of {len(report.indexed)} labels indexed, {len(report.failed)} skipped")

        calibration = calibrate_index(config.retrieval.index_path, config, CalibrationRequest(target_precision=0.95))
        if calibration.guarantee is not None:
            print(f"at most 5% of answers with a score of at least {calibration.guarantee.threshold:.2f} are wrong")

        for result in HybridClassifier(config).classify_paths(sorted((folder / "new").glob("*.png"))):
            evidence = result.candidates[0].neighbors[0].example.path
            print(f"{Path(str(result.path)).name}: {result.label} {result.score:.2f}, {result.decision.reason}")
            print(f"  nearest example of the best label: {evidence}")


if __name__ == "__main__":
    main()
