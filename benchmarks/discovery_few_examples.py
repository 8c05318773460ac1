"""A metric that unlabeled images help to fit, on photographs with few examples per label: accuracy and calibration.

Half of the images of each dataset are new; at most 600 of them are given without labels, and then classified.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.discovery_data import FOLDERS, labeled_vectors
from benchmarks.quality_data import LabeledVectors, few, index_of, split
from benchmarks.rows import Better, Row, where
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.unlabeled.learned_metric import LearnedMetric
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.metrics import expected_calibration_error
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderRetriever

COMMAND = "python -m benchmarks.discovery --only few_examples"
PER_LABEL = {4: 2.0, 8: 1.0}  # examples per label -> goal, points of accuracy gained
DRAWS, IMAGES = 20, 600
LEAST = -0.7  # points: no dataset may lose more


@dataclass(frozen=True)
class Draw:
    """What one draw of examples gave, in percent."""

    gain: float  # points of accuracy; 0 where the guard refused
    is_used: bool
    error_before: float  # expected calibration error of new images, without the unlabeled ones
    error_after: float  # and with them, where they are used
    error_told: float  # by virtual splits of the examples
    excess: float  # mean confidence minus accuracy, of new images with the unlabeled ones
    excess_told: float  # by virtual splits


def drawn(images: LabeledVectors, per_label: int, seed: int) -> Draw:
    """Draw examples and new images, and classify these without and with their own help."""
    task = few(split(images, seed, 0.5), per_label, seed)
    new = task.new.at(np.random.default_rng(seed).permutation(len(task.new.labels))[:IMAGES])
    config, index = RetrievalConfig(), index_of(task.dataset)
    truth = np.searchsorted(np.array(index.label_names), new.labels)

    def measured(fit: EncoderFit) -> tuple[float, float, float]:
        retriever = EncoderRetriever.open(config, index, fit, None, whole=False)
        logs: Float64Array = retriever.score(new.vectors, []).log_probabilities
        correct = logs.argmax(axis=1) == truth
        confidence, accuracy = np.exp(logs.max(axis=1)), float(correct.mean())
        error = expected_calibration_error(confidence, correct)
        return 100 * accuracy, 100 * error, 100 * (float(confidence.mean()) - accuracy)

    before, error_before, _ = measured(fit_by_leave_one_out(config, [index])[0].fits[0])
    learned = LearnedMetric.fit(config, [index], [new.vectors])
    if learned.calibration is None:
        return Draw(0.0, False, error_before, *[np.nan] * 4)
    after, error_after, excess = measured(learned.calibration.fits[0])
    told = [100 * (value or 0.0) for value in (learned.calibration_error, learned.confidence, learned.accuracy)]
    return Draw(after - before, True, error_before, error_after, told[0], excess, told[1] - told[2])


def measure(images: dict[str, LabeledVectors], draws: int) -> Iterator[Row]:
    """Yield the rows of each number of examples per label."""
    for per_label, goal in PER_LABEL.items():
        by_set = {name: [drawn(each, per_label, seed) for seed in range(draws)] for name, each in images.items()}
        means = {name: float(np.mean([draw.gain for draw in found])) for name, found in by_set.items()}
        every = [draw for found in by_set.values() for draw in found]
        gains = np.array([draw.gain for draw in every])
        each = ", ".join(
            f"{name} {means[name]:+.1f} ± {_error(found):.1f} (used in {sum(draw.is_used for draw in found)})"
            for name, found in by_set.items()
        )
        among = f"{draws} draws a dataset: {each}; worst draw {gains.min():+.1f}"
        name = f"few examples: accuracy gained, {per_label} per label"
        yield _row(name, float(np.mean([*means.values()])), "points", goal, "higher", among)
        yield _row(f"{name}, worst dataset", min(means.values()), "points", LEAST, "higher", among)
        used = [draw for draw in every if draw.is_used]
        errors = np.array([(draw.error_before, draw.error_after, draw.error_told) for draw in used] or [[np.nan] * 3])
        without, after, told = errors.mean(axis=0)
        among = f"{len(used)} draws; without unlabeled images {without:.1f}; told by virtual splits {told:.1f}"
        yield _row(f"few examples: ECE, {per_label} per label", float(after), "%", None, "lower", among)
        excess, excess_told = np.mean([(draw.excess, draw.excess_told) for draw in used] or [[np.nan] * 2], axis=0)
        name = f"few examples: mean confidence minus accuracy, {per_label} per label"
        yield _row(name, float(excess), "points", None, "lower", f"told by virtual splits {excess_told:.1f}")


def _error(found: list[Draw]) -> float:
    return float(np.std([draw.gain for draw in found], ddof=1) / np.sqrt(len(found)))


def _row(name: str, value: float, unit: str, goal: float | None, better: Better, against: str) -> Row:
    return Row(name, round(value, 2), unit, goal, better, f"encoder lite; {against}", where(), COMMAND)


def rows(quick: bool) -> list[Row]:
    """Measure all; quickly with few draws."""
    images = {name: labeled_vectors(name) for name in FOLDERS}
    return list(measure(images, 2 if quick else DRAWS))
