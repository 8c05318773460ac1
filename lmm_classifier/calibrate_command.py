"""The job of `lmm-classifier calibrate`: fit the rule, turn promises into thresholds, store both with the index."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from lmm_classifier.calibrated import Calibration
from lmm_classifier.config import RetrievalConfig
from lmm_classifier.console import printable
from lmm_classifier.errors import CalibrationError
from lmm_classifier.index.exact import ExactIndex
from lmm_classifier.index.store import write_index
from lmm_classifier.promises import (
    Promise,
    Refusal,
    promise_by_chains,
    promise_by_sgr,
)
from lmm_classifier.retriever import KEEP_KNOWN
from lmm_classifier.voices import LeftOut
from lmm_classifier.voting import Recipe, open_recipe


@dataclass(frozen=True)
class Outcome:
    """A calibration, what it was made from, and the promises behind its threshold."""

    calibration: Calibration
    recipe: Recipe
    left_out: LeftOut
    promise: Promise | None
    by_sgr: Promise | Refusal | None


def calibrate(
    path: Path, config: RetrievalConfig, target_precision: float | None, delta: float, keep_known: float
) -> Outcome:
    """Calibrate the index at `path` by exact leave-one-out and store the outcome in it.

    Raises CalibrationError, and leaves the index as it is, when the corpus cannot promise `target_precision` (0..1).
    """
    index = ExactIndex.open(path)
    gallery = index.gallery
    if gallery.labels < 2 or len(index) <= gallery.labels:
        raise CalibrationError(
            f"{path} holds {len(index)} pictures of {gallery.labels} labels; leave-one-out needs two labels and "
            "more than one picture of some: add pictures and build it again"
        )
    recipe = open_recipe(config, gallery.label_ids, gallery.labels)
    fitted, left_out = Calibration.fit(config, index)
    promise, by_sgr = None, None
    if target_precision is not None:
        risk = 1 - target_precision
        made = promise_by_chains(left_out.confidence, left_out.right, risk, delta)
        if isinstance(made, Refusal):
            raise CalibrationError(
                f"a precision of {target_precision:g} cannot be promised (delta {delta:g}): {made.reason}. It takes "
                f"{made.needed} examples without a fault; add pictures, or ask for less. The index is unchanged"
            )
        promise, by_sgr = made, promise_by_sgr(left_out.confidence, left_out.right, risk, delta)
    calibration = replace(fitted, confidence_threshold=promise.threshold if promise else None, keep_known=keep_known)
    write_index(path, replace(index.contents, calibration=calibration.state(index.contents, recipe), mapped=None))
    return Outcome(calibration, recipe, left_out, promise, by_sgr)


def run_calibrate(
    path: Path, config: RetrievalConfig, target_precision: float | None, delta: float, keep_known: float
) -> int:
    """Calibrate and print what was found to standard output; 0 when done."""
    outcome = calibrate(path, config, target_precision, delta, keep_known)
    sys.stdout.write("\n".join(printable(line) for line in _lines(path, outcome)) + "\n")
    return 0


def _lines(path: Path, outcome: Outcome) -> list[str]:
    left_out, voices = outcome.left_out, outcome.calibration.voices
    familiarity, keep = outcome.calibration.familiarity, outcome.calibration.keep_known or KEEP_KNOWN
    lines = [
        f"{path}: {len(left_out.rows)} examples left out one by one, {100 * left_out.right.mean():.1f} % right, "
        f"mean confidence {100 * left_out.confidence.mean():.1f} %",
        f"rule {outcome.recipe.name.split()[0]}: shrinkage {voices.metric.shrinkage:g} by least log-loss of "
        + ", ".join(f"{one:g}" for one in voices.losses),
    ]
    if outcome.promise is not None:
        made = outcome.promise
        beside = outcome.by_sgr
        lines += [
            f"confidence_threshold {made.threshold:.4f}: answers are wrong at most {100 * made.risk:g} % of the time, "
            f"with probability {1 - made.delta:g}",
            f"  expected coverage {100 * made.coverage:.1f} % of pictures of known labels, {100 * made.realised:.1f} % "
            "wrong among the examples",
            f"  SGR would cover {100 * beside.coverage:.1f} %"
            if isinstance(beside, Promise)
            else "  SGR could promise nothing",
        ]
    lines += [
        f"open_set_threshold {familiarity.threshold(keep):.4f} (familiarity): keeps {100 * keep:g} % of pictures of "
        "known labels",
        "Both hold for new pictures that are independent of each other and drawn like the examples. With several shots "
        "of one object in the corpus leave-one-out is too rosy, and nothing is promised about unknown labels.",
    ]
    return lines
