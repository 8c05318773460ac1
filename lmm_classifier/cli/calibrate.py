"""The command `calibrate`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.dataset_options import (
    ImageFromOption,
    LabelFromOption,
    SplitFromOption,
    SplitOption,
    named_dataset,
)
from lmm_classifier.cli.options import FollowLinksOption, IndexArgument

if TYPE_CHECKING:
    from lmm_classifier.calibration.calibration_report import CalibrationReport
    from lmm_classifier.calibration.request import CalibrationRequest
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.core.index_location import IndexLocation


def calibrate(
    index: IndexArgument = None,
    target_precision: Annotated[
        float | None, typer.Option(help="Accepted answers shall be correct this often, e.g. 0.95: sets the threshold.")
    ] = None,
    confidence_level: Annotated[
        float | None, typer.Option(help="Probability, 0 to 1, that this guarantee holds. [default: 0.9]")
    ] = None,
    keep_known: Annotated[
        float | None,
        typer.Option(
            help="Fraction, 0 to 1, of images of known labels that must not be called unknown. [default: 0.95]"
        ),
    ] = None,
    holdout: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="Labeled dataset, as for build, to calibrate on instead of leave-one-out.",
            autocompletion=complete_place,
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(help="Hold out together: 'folder', 'column' (build --group-from), or a regular expression."),
    ] = None,
    target_images: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET",
            help="Unlabeled images from production, in a folder or any other dataset. If they are less similar to the "
            "examples than these to each other, clusters of similar examples are held out.",
            autocompletion=complete_place,
        ),
    ] = None,
    label_from: LabelFromOption = None,
    image_from: ImageFromOption = None,
    split_from: SplitFromOption = None,
    split: SplitOption = None,
    follow_links: FollowLinksOption = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Measure the reranker on held-out examples: which images to ask about.")
    ] = False,
    max_calls: Annotated[int, typer.Option(min=20, help="Most examples that --rerank asks about.")] = 400,
    reset: Annotated[
        bool, typer.Option("--reset", help="Start from the defaults: forget what was asked for and measured before.")
    ] = False,
    *,
    config: PipelineConfig,
) -> int:
    """Fit the decision rule and set the thresholds.

    Leave-one-out on the examples of the index chooses both. They are stored with the index, and so is what was asked
    for: a later `calibrate` keeps every option that it does not mention. One that mentions only --target-precision,
    --confidence-level or --keep-known sets the thresholds anew, without fitting again.

    Exit codes: 0 done, 1 failed, or the dataset is too small for the guarantee.
    """
    from lmm_classifier.calibration.request import CalibrationRequest

    if follow_links:
        config.images.follow_links = follow_links
    choices = (label_from, image_from, None, split_from, split)
    if any(choices) and holdout is None and target_images is None:
        raise typer.BadParameter("Labels, columns and splits are chosen of a dataset. Name it by --holdout.")
    labeled, target = (name and named_dataset(name, *choices) for name in (holdout, target_images))
    request = CalibrationRequest(
        target_precision, confidence_level, keep_known, labeled, group_by, target, max_calls if rerank else None
    )
    print_calibration(index or config.retrieval.index_path, config, request, reset)
    return 0


def print_calibration(
    path: IndexLocation, config: PipelineConfig, request: CalibrationRequest | None = None, reset: bool = False
) -> None:
    """Calibrate an index with a progress bar, and print what was found; None repeats the stored request."""
    from lmm_classifier.cli.console import command_progress, escape_for_terminal
    from lmm_classifier.cli.given_configuration import complete_commands
    from lmm_classifier.cli.interruption import told_if_interrupted
    from lmm_classifier.pipeline.calibrator import calibrate_index

    unchanged = "Interrupted. The stored calibration was not changed. Answers in the reranker's cache are used again."
    with told_if_interrupted(lambda: unchanged), command_progress() as show:
        report = calibrate_index(path, config, request, show, reset=reset)
    sys.stdout.write("\n".join(escape_for_terminal(complete_commands(line)) for line in _lines(path, report)) + "\n")


def _lines(path: IndexLocation, report: CalibrationReport) -> list[str]:
    """Return the lines that say what a calibration did; the first one says if its figures are too optimistic."""
    calibration = report.calibration
    results = calibration.held_out
    warning = [f"not certified. {report.warning} {_advice(path)}"] if report.warning else []
    lines = [
        *warning,
        f"{path}: {len(results)} images {report.method}",
        f"accuracy: {100 * report.accuracy:.1f}%, mean confidence {100 * results.confidence.mean():.1f}%",
        *report.notes,
        f"rule: {calibration.rule.split()[0]}",
        *_shrinkage_lines(report),
        *_guarantee_lines(report),
        *_unknown_lines(report),
    ]
    if calibration.reranker_benefit is not None:
        from lmm_classifier.rerank.summary import summary

        lines += summary(calibration.reranker_benefit)
    return [*lines, *_LIMITS]


def _advice(path: IndexLocation) -> str:
    """Say how to hold objects out together; the groups that came with vectors are at hand."""
    from lmm_classifier.index.formats import read_index

    return _HOLD_OUT_GROUPS if read_index(path).groups else _HOLD_OUT_OBJECTS


def _shrinkage_lines(report: CalibrationReport) -> list[str]:
    rules = [fit.rule for fit in report.calibration.fits]
    losses = ", ".join(f"{shrinkage:g}" for shrinkage in rules[0].losses)
    chosen = ", ".join(f"{rule.metric.shrinkage:g}" for rule in rules)
    each = " (of each encoder)" if len(rules) > 1 else ""
    return [f"shrinkage: {chosen}{each}, the simplest of the best by log-loss of {losses}"]


_HOLD_OUT_OBJECTS = (
    "Use --group-by to hold the images of an object out together, --target-images to compare with unlabeled new "
    "images, or --holdout with labeled ones."
)
_HOLD_OUT_GROUPS = "The index has the groups of its vectors: use --group-by column to hold them out together."
_SHOWN_RATES = (0.95, 0.9, 0.8)  # of known images that are accepted
_LIMITS = (
    "These figures hold for new images that are independent of each other and come from the examples' source.",
    "If the dataset has several images of one object, leave-one-out is too optimistic: use --group-by to hold them out "
    "together, or --target-images to compare with unlabeled images. There is no guarantee about unknown labels.",
)


def _guarantee_lines(report: CalibrationReport) -> list[str]:
    guarantee, outlook = report.guarantee, report.outlook
    if guarantee is None or outlook is None:
        return _level_lines(report)
    other = "no guarantee" if report.sgr_coverage is None else f"{100 * report.sgr_coverage:.1f}%"
    return [
        f"confidence_threshold: {guarantee.threshold:.4f}{', not certified' if report.warning else ''}; at most "
        f"{100 * guarantee.risk:g}% of accepted answers are wrong, with probability {1 - guarantee.delta:.3g}",
        f"  expected coverage: {100 * (outlook.accepted or 0):.1f}% of images of known labels "
        f"({100 * outlook.unknown:.1f}% are called unknown), {100 * guarantee.realized:.1f}% wrong among the examples",
        f"  coverage by the older method SGR (selection with guaranteed risk): {other}",
        *_level_lines(report),
    ]


def _level_lines(report: CalibrationReport) -> list[str]:
    """Say what each level of a hierarchy answers; nothing where there is none, or no precision was asked for."""
    from lmm_classifier.calibration.guarantees.risk_control import NoGuarantee

    levels = report.levels
    if levels is None or not levels.coarse:
        return []
    labels, lines = levels.labels, list[str]()
    if isinstance(labels, NoGuarantee):
        lines.append(f"no label is sure enough by itself: {labels.reason}")
    for number, found in enumerate(levels.coarse.values(), start=1):
        name = f"coarse_threshold_{number}"
        if isinstance(found, NoGuarantee):
            lines.append(f"{name}: none, so level {number} answers nothing: {found.reason}")
        else:
            lines.append(
                f"{name}: {found.threshold:.4f}; level {number} answers {100 * levels.answered[number]:.1f}% of images "
                f"of known labels, {100 * levels.wrong[number]:.1f}% of these wrong among the examples"
            )
    both = 1 - labels.delta * (1 + len(levels.coarse))
    total = f"{100 * sum(levels.answered):.1f}%"
    return [*lines, f"answered at some level: {total}; all levels keep their error rates with probability {both:.3g}"]


def _unknown_lines(report: CalibrationReport) -> list[str]:
    from lmm_classifier.calibration.request import DEFAULT_KEEP_KNOWN

    calibration = report.calibration
    keep = calibration.keep_known or DEFAULT_KEEP_KNOWN
    lines = [
        f"familiarity_threshold: {calibration.familiarity_threshold(keep):.4f}; accepts {100 * keep:g}% of images of "
        "known labels"
    ]
    if report.tradeoff is not None:
        accepted = ", ".join(
            f"{100 * report.tradeoff.accepted[keep]:.0f}% at keep_known {keep:g}" for keep in _SHOWN_RATES
        )
        lines.append(
            f"  similar unknown images accepted (estimate, AUROC {100 * report.tradeoff.auroc:.0f}): {accepted}"
        )
    return lines
