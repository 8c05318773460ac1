"""The command `audit`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmm_classifier.cli.console import printable
from lmm_classifier.core.files import replacing_file
from lmm_classifier.evaluation.audit import Audit, audit
from lmm_classifier.evaluation.reports.audit_page import summary, write_audit_page
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig

_NAMED = 10  # findings of a kind on the terminal


def run_audit(
    path: Path, config: RetrievalConfig, near: float, json_to: Path | None, csv_to: Path | None, html_to: Path | None
) -> Audit:
    """Audit the index at `path`, print a summary, and write what was asked for."""
    index = ExactIndex.open(path)
    found = audit(index, config, near)
    if json_to is not None:
        with replacing_file(json_to) as temporary:
            temporary.write_text(json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if csv_to is not None:
        with (
            replacing_file(csv_to) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            csv.writer(file).writerows(_rows(found))
    if html_to is not None:
        write_audit_page(html_to, found, index.contents.file_of)
    sys.stdout.write("\n".join(printable(line) for line in _lines(found, html_to)) + "\n")
    return found


def _lines(found: Audit, page: Path | None) -> Iterator[str]:
    for name, value in summary(found):
        yield f"{name:<28} {value}"
    for suspect in found.suspects[:_NAMED]:
        yield f"  {suspect.path}: labelled {suspect.label}, looks like {suspect.suggested} (doubt {suspect.doubt:.2f})"
    for group in [one for one in found.duplicates if one.contradict][:_NAMED]:
        yield f"  {'same bytes' if group.exact else 'nearly the same'} under several labels: {', '.join(group.paths)}"
    for pair in found.confusable[:_NAMED]:
        yield f"  {pair.label} taken for {pair.taken_for}: {pair.count} times, {100 * pair.share:.0f} % of its examples"
    for label, count in list(found.thin.items())[:_NAMED]:
        yield f"  {label} has {count} example{'s' if count > 1 else ''} only"
    if page is not None:
        yield f"look at {page}"


def _rows(found: Audit) -> Iterator[Sequence[str | float | int]]:
    yield "finding", "path", "label", "suggested_or_other", "value"
    for suspect in found.suspects:
        yield "wrong label", suspect.path, suspect.label, suspect.suggested, suspect.doubt
    for group in found.duplicates:
        for path, label in zip(group.paths, group.labels):
            yield "same bytes" if group.exact else "near duplicate", path, label, group.paths[0], group.similarity
    for outlier in found.outliers:
        yield "outlier", outlier.path, outlier.label, "", outlier.familiarity
    for pair in found.confusable:
        yield "confusable", "", pair.label, pair.taken_for, pair.count
    for label, count in found.thin.items():
        yield "thin label", "", label, "", count
