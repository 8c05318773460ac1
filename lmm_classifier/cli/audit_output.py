"""What `audit` prints, and its tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lmm_classifier.core.csv_cells import Cell, write_row
from lmm_classifier.core.files import atomic_write
from lmm_classifier.core.index_location import IndexLocation, absolute_location
from lmm_classifier.core.text import quote_for_shell
from lmm_classifier.evaluation.findings import Audit, LabelIssue


def lines(findings: Audit, limit: int, offset: int) -> Iterator[str]:
    """Yield the lines for the terminal: at most `limit` findings of each kind, the labels to check from `offset` on."""
    for name, value in findings.figures:
        yield f"{name:<28} {value}"
    issues = findings.label_issues[offset : offset + limit]
    for number, issue in enumerate(issues, offset + 1):
        quality = f"label quality {issue.label_quality:.2f}{', likely wrong' if issue.likely else ''}"
        yield f"  {number}. {issue.path}: labeled {issue.label}, suggested {issue.suggested} ({quality})"
    remaining = len(findings.label_issues) - offset - len(issues)
    if remaining > 0:
        yield f"  {remaining} more labels to check: --offset {offset + len(issues)}"
    groups = []
    for group in [group for group in findings.duplicates if group.contradict]:
        kind = "same bytes" if group.exact else "near duplicates"
        groups.append(f"  {kind} under several labels: {', '.join(group.paths)}")
    yield from _first(groups, limit, "groups under several labels")
    pairs = []
    for pair in findings.confusable:
        fraction = f"{100 * pair.fraction:.0f}% of its examples"
        pairs.append(f"  {pair.label} predicted as {pair.predicted_as}: {pair.count} times, {fraction}")
    yield from _first(pairs, limit, "pairs of labels")
    thin = [f"  {label}: only {count} example{'s' if count > 1 else ''}" for label, count in findings.thin.items()]
    yield from _first(thin, limit, "labels with few examples")


def _first(found: Sequence[str], limit: int, what: str) -> Iterator[str]:
    """Yield the first lines of a kind, and how many more there are."""
    yield from found[:limit]
    if len(found) > limit:
        yield f"  {len(found) - limit} more {what}: --limit sets how many are printed"


def relabel_command(index: IndexLocation, issue: LabelIssue) -> str:
    """Return the command that gives an example the suggested label, to paste into a shell."""
    where = f"--index={absolute_location(index)}"
    label, place, path = (quote_for_shell(word) for word in (f"--to={issue.suggested}", where, issue.path))
    return f"lmm-classifier relabel {label} {place} -- {path}"


def finding_rows(findings: Audit) -> Iterator[Sequence[Cell]]:
    """Yield a head and one row per finding."""
    yield "finding", "path", "label", "suggested_or_other", "value"
    for issue in findings.label_issues:
        kind = "likely wrong label" if issue.likely else "label to check"
        yield kind, issue.path, issue.label, issue.suggested, issue.label_quality
    for group in findings.duplicates:
        for path, label in zip(group.paths, group.labels):
            yield "same bytes" if group.exact else "near duplicate", path, label, group.paths[0], group.similarity
    for outlier in findings.outliers:
        yield "outlier", outlier.path, outlier.label, "", outlier.familiarity
    for pair in findings.confusable:
        yield "confusable", "", pair.label, pair.predicted_as, pair.count
    for label, count in findings.thin.items():
        yield "thin label", "", label, "", count


def suspect_rows(findings: Audit) -> Iterator[Sequence[Cell]]:
    """Yield a head and one row per label to check, as a table of corrections: each is kept until a person decides."""
    yield "path", "action", "label", "labeled", "label_quality", "likely_wrong"
    for issue in findings.label_issues:
        yield issue.path, "keep", issue.suggested, issue.label, issue.label_quality, issue.likely


def write_table(path: Path, rows: Iterable[Sequence[Cell]]) -> None:
    """Write rows as CSV, whole or not at all."""
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        for row in rows:
            write_row(file, row)
