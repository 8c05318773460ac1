"""The command `audit`."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexArgument, JsonFile

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.core.index_location import IndexLocation


def audit(
    index: IndexArgument = None,
    near: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Cosine from which two images are near duplicates. [default: pixels are compared]"
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Findings of a kind to print.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="Labels to check that are skipped before the first.")] = 0,
    json_to: JsonFile = None,
    csv_to: Annotated[Path | None, typer.Option("--csv", help="Write one row per finding to this file.")] = None,
    html_to: Annotated[Path | None, typer.Option("--html", help="Write the findings with images to a page.")] = None,
    edits_to: Annotated[
        Path | None, typer.Option("--edits", help="Write the labels to check as a table of edits, to fill in.")
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option(help="Apply a table of edits (keep, dismiss, relabel, remove) at once; nothing is audited."),
    ] = None,
    *,
    config: PipelineConfig,
) -> int:
    """Find wrong labels, duplicates and outliers.

    The findings also list thin labels, which have few examples, and labels that are easily confused.
    """
    from lmm_classifier.cli.audit_output import finding_rows, lines, relabel_command, suspect_rows, write_table
    from lmm_classifier.cli.console import command_progress, escape_for_terminal
    from lmm_classifier.core.errors import OutputError
    from lmm_classifier.core.files import atomic_write, require_place
    from lmm_classifier.evaluation.audit import audit_index
    from lmm_classifier.evaluation.reports.audit_page import write_audit_page
    from lmm_classifier.index.formats import is_durable

    path = index or config.retrieval.index_path
    if apply is not None:
        return _apply(path, apply, config.unknown_label)
    require_place(json_to, csv_to, html_to, edits_to)
    if edits_to is not None and edits_to.is_file() and edits_to.stat().st_size:
        raise OutputError(f"{edits_to} exists already and may hold your corrections. Apply it, or name another file.")
    with command_progress() as show:
        findings = audit_index(path, config, near, show)
    if json_to is not None:
        with atomic_write(json_to) as temporary:
            temporary.write_text(json.dumps(findings.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for file, rows in ((csv_to, finding_rows(findings)), (edits_to, suspect_rows(findings))):
        if file is not None:
            write_table(file, rows)
    if html_to is not None:
        correct = partial(relabel_command, path) if is_durable(path) else None
        write_audit_page(html_to, findings, path, config.images.limits, correct)
    text = [*lines(findings, limit, offset), *([f"Report written to {html_to}"] if html_to is not None else [])]
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in text) + "\n")
    return 0


def _apply(index: IndexLocation, table: Path, unknown_label: str) -> int:
    from lmm_classifier.cli.edit_output import ORIGIN, print_edit
    from lmm_classifier.index.build.corrections import apply_corrections, read_corrections

    corrections = read_corrections(table)
    report = apply_corrections(index, corrections, unknown_label, note=f"table {table.name}", origin=ORIGIN)
    return print_edit(index, report, as_json=False)
