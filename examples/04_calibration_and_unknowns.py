"""Ask for a precision, evaluate on new images, and count the unknown images that are recognized.

Run it with `python examples/04_calibration_and_unknowns.py`. It draws its own images and needs no model.
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
    evaluate_folder,
)
from lmm_classifier.data.synthetic import KNOWN, UNKNOWN, draw

SIZE = 48  # pixels of an image: few, so that some are mistaken


def draw_images(folder: Path, label: str, count: int, seed: int) -> None:
    """Draw `count` images of a pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for position in range(count):
        draw(label, rng, SIZE).save(folder / f"{label}{position:02}.png")


def main() -> None:
    """Calibrate with a target precision, then compare it with what new images show."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, label in enumerate(KNOWN):
            draw_images(folder / "images" / label, label, 12, number)
            draw_images(folder / "test" / label, label, 6, 100 + number)
        for number, label in enumerate(UNKNOWN):  # patterns that are not in the dataset
            draw_images(folder / "test" / "unknown", label, 12, 200 + number)
        config = PipelineConfig.offline()
        config.retrieval.index_path = folder / "index"
        build_index_from_directory(folder / "images", config.retrieval.index_path, config=config)

        request = CalibrationRequest(target_precision=0.9, keep_known=0.95)
        calibration = calibrate_index(config.retrieval.index_path, config, request)
        guarantee = calibration.guarantee
        assert guarantee is not None  # a target that cannot be guaranteed raises CalibrationError
        print(
            f"at most {guarantee.risk:.0%} of answers with a score of at least {guarantee.threshold:.2f} are wrong, "
            f"with probability {1 - guarantee.delta:.0%}"
        )

        with HybridClassifier(config) as classifier:
            evaluation = evaluate_folder(folder / "test", classifier)
            familiarity_threshold = classifier.retriever.calibration.familiarity_threshold
        figures = evaluation.to_dict(familiarity_threshold)
        print(f"{len(evaluation.known)} known images: {figures['accuracy_if_a_label_is_forced']['fraction']:.1%} right")
        certain = evaluation.correct[evaluation.confidence >= guarantee.threshold]
        print(f"{len(certain)} of them reach the score: {certain.mean():.1%} right")
        caught = figures["unknown"]["caught"]
        print(f"unknown images recognized: {caught['count']} of {caught['of']}")
        for row in figures["unknown"]["tradeoff"]:
            known, unknown = row["known_accepted"], row["unknowns_accepted"]
            print(f"  {known:.0%} of known images accepted: {unknown:.0%} of unknown ones, too")


if __name__ == "__main__":
    main()
