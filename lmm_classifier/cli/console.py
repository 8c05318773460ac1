"""Output for people in a terminal: progress, tables, one line per error. Only results go to standard output."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from lmm_classifier.cli.given_configuration import complete_commands
from lmm_classifier.cli.interruption import told_if_interrupted
from lmm_classifier.cli.quiet import is_quiet, write_note
from lmm_classifier.core.errors import ReplacementError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.core.progress import Skipped, describe_skipped
from lmm_classifier.core.progress_display import ProgressDisplay
from lmm_classifier.core.text import escape_unprintable
from lmm_classifier.index.build.reports import BuildReport

_LISTED = 20  # skipped files shown one by one; the JSON report has them all


def escape_for_terminal(text: str) -> str:
    """Return text that any terminal can print: control characters and lone surrogates are escaped."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return escape_unprintable(text).encode(encoding, "backslashreplace").decode(encoding)


def print_error(message: str) -> None:
    """Print one line that says what went wrong."""
    sys.stderr.write(f"error: {escape_for_terminal(complete_commands(message))}\n")


def command_progress() -> ProgressDisplay:
    """Return the display of a command: a bar on a terminal, plain lines elsewhere, nothing where it is quiet."""
    return ProgressDisplay(write_note, bar=not is_quiet())


@contextmanager
def resumable(index: IndexLocation) -> Iterator[None]:
    """Say on an interruption of a build or a sync that a durable index can be resumed, and name `--replace`."""
    from lmm_classifier.index.formats import has_durable_name

    line = "Interrupted. Encoded images are stored. Run the same command again to resume."
    try:
        with told_if_interrupted(lambda: line) if has_durable_name(index) else nullcontext():
            yield
    except ReplacementError as error:
        raise ReplacementError(f"{error} The option --replace does that.") from None


def print_skipped(files: Sequence[Skipped]) -> None:
    """Print how many files were skipped, and the first of them with the reason; those that should be images first."""
    if not files:
        return
    lines = [describe_skipped(files)]
    listed = sorted(files, key=lambda file: (not file.failed, file.path))[:_LISTED]
    lines += [f"  {file.path}: {file.reason}" for file in listed]
    lines += [f"  and {len(files) - _LISTED} more"] if len(files) > _LISTED else []
    write_note("\n".join(escape_for_terminal(line) for line in lines))


def show_report(report: BuildReport) -> None:
    """Print what was indexed, what was skipped and why, unless the command is quiet."""
    if is_quiet():
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True)
    table = Table(title=Text(escape_for_terminal(f"index {report.output_path}")), title_justify="left")
    table.add_column("label")
    table.add_column("images", justify="right")
    for label, count in report.indexed.items():
        table.add_row(Text(escape_for_terminal(label)), str(count))
    table.add_section()
    table.add_row("total", str(report.total), style="bold")
    console.print(table)
    if report.skipped:
        console.print(_skipped_table(report))
    for warning in report.warnings:
        console.print(Text(escape_for_terminal(complete_commands(f"warning: {warning}")), style="yellow"))
    console.print(Text(escape_for_terminal(_closing(report))))


def _closing(report: BuildReport) -> str:
    """Return how many images there are, how many were encoded now, and how fast."""
    changes = report.changes
    encoded = report.total if changes is None else changes.encoded
    rate = f" ({encoded / max(report.seconds, 1e-9):.1f}/s)" if encoded else ""
    text = f"{report.total} images"
    if changes is not None and (changes.unchanged or encoded < report.total):
        kinds = ("added", "removed", "replaced", "renamed", "relabeled")
        counts = [f"{len(getattr(changes, kind))} {kind}" for kind in kinds if getattr(changes, kind)]
        text += f": {', '.join([*counts, f'{changes.unchanged} unchanged'])}; {encoded} encoded"
    if report.encoded_by:
        text += f" by {' and '.join(report.encoded_by)}"
    return f"{text} in {report.seconds:.1f} s{rate}"


def _skipped_table(report: BuildReport) -> Any:
    from rich.table import Table
    from rich.text import Text

    counts = Counter(skipped.kind for skipped in report.skipped)
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    table = Table(title=Text(escape_for_terminal(f"not indexed: {kinds}")), title_justify="left")
    for column in ("file", "kind", "reason"):
        table.add_column(column, overflow="fold")
    # unreadable images first: files of other kinds are rarely of interest
    listed = sorted(report.skipped, key=lambda skipped: (not skipped.failed, skipped.path))
    for skipped in listed[:_LISTED]:
        table.add_row(*(Text(escape_for_terminal(part)) for part in (skipped.path, skipped.kind, skipped.reason)))
    if len(listed) > _LISTED:
        table.add_row(f"... and {len(listed) - _LISTED} more", "", "the JSON report (--report) lists them all")
    return table
