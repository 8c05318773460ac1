"""The command `calibrate`."""

from __future__ import annotations

import sys
from pathlib import Path

from lmm_classifier.calibration.risk_control import Promise
from lmm_classifier.cli.console import ProgressDisplay, printable
from lmm_classifier.config import PipelineConfig
from lmm_classifier.pipeline.calibrator import Outcome, Wish, calibrate
from lmm_classifier.pipeline.retriever import KEEP_KNOWN
from lmm_classifier.rerank.summary import summary


def run_calibrate(path: Path, config: PipelineConfig, wish: Wish) -> int:
    """Calibrate and print what was found to standard output; 0 when done."""
    with ProgressDisplay() as show:
        outcome = calibrate(path, config, wish, show)
    sys.stdout.write("\n".join(printable(line) for line in _lines(path, outcome)) + "\n")
    return 0


def _lines(path: Path, outcome: Outcome) -> list[str]:
    left_out, voices = outcome.left_out, outcome.calibration.voices
    familiarity, keep = outcome.calibration.familiarity, outcome.calibration.keep_known or KEEP_KNOWN
    lines = [
        f"{path}: {len(left_out.rows)} pictures {outcome.how}, {100 * left_out.right.mean():.1f} % right, "
        f"mean confidence {100 * left_out.confidence.mean():.1f} %",
        *outcome.notes,
        f"rule {outcome.recipe.name.split()[0]}: shrinkage {voices.metric.shrinkage:g}, the simplest of the best by "
        "log-loss of " + ", ".join(f"{one:g}" for one in voices.losses),
    ]
    if outcome.promise is not None:
        made, beside = outcome.promise, outcome.by_sgr
        lines += [
            f"confidence_threshold {made.threshold:.4f}: answers are wrong at most {100 * made.risk:g} % of the time, "
            f"with probability {1 - made.delta:g}",
            f"  expected coverage {100 * made.coverage:.1f} % of pictures of known labels, {100 * made.realised:.1f} % "
            "wrong among the examples",
            f"  SGR would cover {100 * beside.coverage:.1f} %"
            if isinstance(beside, Promise)
            else "  SGR could promise nothing",
        ]
    lines.append(
        f"open_set_threshold {familiarity.threshold(keep):.4f} (familiarity): keeps {100 * keep:g} % of pictures of "
        "known labels"
    )
    if outcome.trade is not None:
        passed = ", ".join(f"{100 * keep:g} % lets {100 * one:.0f} %" for keep, one in outcome.trade.passed.items())
        lines.append(
            f"  an estimate for look-alikes, made by leaving labels out (AUROC {100 * outcome.trade.auroc:.0f}): "
            f"keeping {passed} through"
        )
    if outcome.calibration.second_look is not None:
        lines += summary(outcome.calibration.second_look)
    lines.append(
        "All this holds for new pictures that are independent of each other and drawn like the examples. With several "
        "shots of one object in the corpus it is too rosy: --group-by leaves them out together, --like looks for it by "
        "unlabelled new pictures. Nothing is promised about unknown labels."
    )
    return lines
