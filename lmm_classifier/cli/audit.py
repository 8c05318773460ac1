"""The command `audit`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexArgument, JsonFile

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.evaluation.audit import Audit

_LISTED = 10  # findings of a kind on the terminal


def audit(
    index: IndexArgument = None,
    near: Annotated[
        float, typer.Option(min=0, max=1, help="Similarity from which two images are near duplicates.")
    ] = 0.98,
    json_to: JsonFile = None,
    csv_to: Annotated[Path | None, typer.Option("--csv", help="Write one row per finding to this file.")] = None,
    html_to: Annotated[Path | None, typer.Option("--html", help="Write the findings with images to a page.")] = None,
    *,
    config: PipelineConfig,
) -> None:
    """Find wrong labels, duplicates and outliers.

    The findings also list thin labels, which have few examples, and labels that are easily confused.
    """
    from lmm_classifier.cli.console import ProgressDisplay, escape_for_terminal
    from lmm_classifier.core.files import atomic_write
    from lmm_classifier.evaluation.audit import audit_index
    from lmm_classifier.evaluation.reports.audit_page import write_audit_page

    path = index or config.retrieval.index_path
    with ProgressDisplay() as show:
        findings = audit_index(path, config, near, show)
    if json_to is not None:
        with atomic_write(json_to) as temporary:
            temporary.write_text(json.dumps(findings.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if csv_to is not None:
        with (
            atomic_write(csv_to) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            csv.writer(file).writerows(_rows(findings))
    if html_to is not None:
        write_audit_page(html_to, findings, path, config.images.limits)
    lines = [*_lines(findings), *([f"Report written to {html_to}"] if html_to is not None else [])]
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in lines) + "\n")


def _lines(findings: Audit) -> Iterator[str]:
    from lmm_classifier.evaluation.reports.audit_page import summary

    for name, value in summary(findings):
        yield f"{name:<28} {value}"
    for issue in findings.label_issues[:_LISTED]:
        quality = f"label quality {issue.label_quality:.2f}"
        yield f"  {issue.path}: labeled {issue.label}, suggested {issue.suggested} ({quality})"
    for group in [group for group in findings.duplicates if group.contradict][:_LISTED]:
        kind = "same bytes" if group.exact else "near duplicates"
        yield f"  {kind} under several labels: {', '.join(group.paths)}"
    for pair in findings.confusable[:_LISTED]:
        fraction = f"{100 * pair.fraction:.0f}% of its examples"
        yield f"  {pair.label} predicted as {pair.predicted_as}: {pair.count} times, {fraction}"
    for label, count in list(findings.thin.items())[:_LISTED]:
        yield f"  {label}: only {count} example{'s' if count > 1 else ''}"


def _rows(findings: Audit) -> Iterator[Sequence[str | float | int]]:
    yield "finding", "path", "label", "suggested_or_other", "value"
    for issue in findings.label_issues:
        yield "wrong label", issue.path, issue.label, issue.suggested, issue.label_quality
    for group in findings.duplicates:
        for path, label in zip(group.paths, group.labels):
            yield "same bytes" if group.exact else "near duplicate", path, label, group.paths[0], group.similarity
    for outlier in findings.outliers:
        yield "outlier", outlier.path, outlier.label, "", outlier.familiarity
    for pair in findings.confusable:
        yield "confusable", "", pair.label, pair.predicted_as, pair.count
    for label, count in findings.thin.items():
        yield "thin label", "", label, "", count
