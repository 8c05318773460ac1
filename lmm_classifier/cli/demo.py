"""The command `demo`: draw a dataset, index it, calibrate, classify new and unknown images, and show it on pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lmm_classifier.calibration.calibration_report import CalibrationReport
    from lmm_classifier.config import PipelineConfig

_TARGET = 0.95  # precision to guarantee
_MAX_CALLS = 400  # held-out examples that the reranker is measured on


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the drawn images, the index and the pages.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another number draws other images.")] = 0,
    *,
    config: PipelineConfig,
) -> int:
    """Show everything on drawn images.

    Draws a dataset of patterns, indexes and calibrates it, classifies new and unknown images, and writes pages.
    """
    from lmm_classifier.cli.console import command_progress, escape_for_terminal
    from lmm_classifier.cli.demo_data import draw_demo_data, is_planted
    from lmm_classifier.cli.demo_results import classify_folder, pages, rerank_confused_pairs, summarize
    from lmm_classifier.evaluation.audit import audit_index
    from lmm_classifier.evaluation.reports.audit_page import write_audit_page
    from lmm_classifier.evaluation.reports.contact_sheet import write_contact_sheet
    from lmm_classifier.evaluation.reports.evaluation_page import write_evaluation_page
    from lmm_classifier.evaluation.results import Evaluation
    from lmm_classifier.index.build.builder import build_index_from_directory
    from lmm_classifier.pipeline.classifier import HybridClassifier

    dataset, new = draw_demo_data(output, seed)
    (output / "reranking.html").unlink(missing_ok=True)  # of a former run; it is written only if reranking is tried
    config.retrieval.index_path = output / "index"
    with command_progress() as show:
        build = build_index_from_directory(dataset, config.retrieval.index_path, 64, config, show)
    lines = [f"{build.total} images of {len(build.indexed)} patterns indexed in {build.seconds:.1f} s"]
    calibrated, report = _calibrate(config)
    classifier = HybridClassifier(config)
    results = classify_folder(classifier, new)
    summary = summarize(results)
    write_contact_sheet(output / "index.html", "Patterns, classified without training", summary, results, dataset)
    evaluation = Evaluation.of(results, set(classifier.index.label_names))
    write_evaluation_page(output / "evaluation.html", evaluation, classifier)
    findings = audit_index(config.retrieval.index_path, config)
    write_audit_page(output / "audit.html", findings, config.retrieval.index_path)
    rank = next((rank for rank, issue in enumerate(findings.label_issues, 1) if is_planted(issue.path)), None)
    planted = f"number {rank} of {len(findings.label_issues)} label issues" if rank else "not found"
    lines += [*calibrated, *(f"{name}: {value}" for name, value in summary), f"planted wrong label: {planted}"]
    if report is not None and config.rerank.enabled and config.rerank.backend == "views":
        trial = rerank_confused_pairs(config, report, results)
        write_contact_sheet(output / "reranking.html", trial.title, trial.summary(), trial.after, dataset)
        lines += trial.lines()
    lines += pages(output)
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in lines) + "\n")
    return 0


def _calibrate(config: PipelineConfig) -> tuple[list[str], CalibrationReport | None]:
    """Calibrate for a target precision and measure the reranker; return lines to print, and the report."""
    from lmm_classifier.calibration.request import CalibrationRequest
    from lmm_classifier.core.errors import CalibrationError
    from lmm_classifier.pipeline.calibrator import calibrate_index
    from lmm_classifier.rerank.summary import summary

    request = CalibrationRequest(_TARGET, max_calls=_MAX_CALLS if config.rerank.enabled else None)
    try:
        report = calibrate_index(config.retrieval.index_path, config, request)
    except CalibrationError as error:
        return [str(error)], None
    lines = []
    if report.guarantee is not None and report.outlook is not None:
        lines.append(
            f"guarantee: at a confidence of {report.guarantee.threshold:.2f} and above {100 * _TARGET:g}% are correct; "
            f"expected coverage {100 * (report.outlook.accepted or 0):.0f}% of images"
        )
    if report.calibration.reranker_benefit is not None:
        lines.append(summary(report.calibration.reranker_benefit)[0])
    return lines, report


def choose_preset(options: dict[str, Any]) -> str:  # noqa: ARG001 - any options
    """Return the preset that needs no download."""
    return "offline"
