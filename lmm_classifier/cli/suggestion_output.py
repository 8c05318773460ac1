"""How suggestions are written: a table for people, JSON lines and CSV for programs, tasks for Label Studio."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from io import StringIO
from pathlib import Path

from lmm_classifier.cli.console import escape_for_terminal
from lmm_classifier.cli.quiet import write_note
from lmm_classifier.core.csv_cells import write_row
from lmm_classifier.core.files import atomic_write
from lmm_classifier.discovery.suggestions.suggestion import Suggestion, Suggestions

_REASONS = {"new": "may be of a new label", "ambiguous": "labels compete", "cold_start": "stands for many images"}
_HEAD = f"{'rank':>4} {'batch':>5}  {'gain':>7}  {'nearest label':<20} {'score':>5}  {'why':<22}  file"


def write_suggestions(found: Suggestions, output_format: str, output: Path | None) -> None:
    """Write suggestions in a format to a file, whole or not at all, or to standard output."""
    lines = {"table": _table, "jsonl": _jsonl, "csv": _csv}[output_format](found)
    text = "".join(lines)
    write_text(text, output)


def write_tasks(found: Suggestions, labels: Sequence[str], output: Path, url_prefix: str | None) -> None:
    """Write suggestions in order as tasks of Label Studio, with a priority; `labels` are those to choose from."""
    from lmm_classifier.integrations.exports.label_studio import label_studio_tasks

    priorities = found.priorities()
    with label_studio_tasks(output, labels, url_prefix) as tasks:
        for each in found.suggestions:
            tasks.add_suggestion(each, found.places.get(each.path, Path(each.path)), priorities[each.path])


def write_text(text: str, output: Path | None) -> None:
    """Write text to a file, whole or not at all, or to standard output."""
    if output is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="surrogateescape")
        sys.stdout.write(text)
        return
    with atomic_write(output) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def note(found: Suggestions) -> None:
    """Say on standard error what the suggestions are of, and whether labels are still needed."""
    write_note("\n".join(escape_for_terminal(line) for line in _notes(found)))


def _notes(found: Suggestions) -> Iterator[str]:
    yield counted(found.images, found.found, found.labeled, found.sampled_out)
    advice = found.stopping
    if advice is None:
        return
    decided = advice.undecided - advice.open + advice.deciding
    target = f"{100 * advice.target:g}%"
    yield f"{decided} of {advice.undecided} images decide themselves at an expected precision of {target}"
    if advice.may_stop:
        yield "No image needs a label for that."


def counted(images: int, found: int, labeled: int, sampled_out: int) -> str:
    """Return how many images took part, and why others did not."""
    parts = [f"{images} of {found} images took part"]
    parts += [f"{labeled} are in the index already"] if labeled else []
    parts += [f"{sampled_out} are not in the sample"] if sampled_out else []
    return "; ".join(parts)


def _table(found: Suggestions) -> Iterator[str]:
    yield f"{_HEAD}\n"
    for each in found.suggestions:
        label = escape_for_terminal(each.label or "")
        score = "" if each.score is None else f"{each.score:.2f}"
        why, path = _REASONS[each.reason], escape_for_terminal(each.path)
        yield f"{each.rank:>4} {each.batch:>5}  {each.gain:>7.2f}  {label:<20} {score:>5}  {why:<22}  {path}\n"


def _jsonl(found: Suggestions) -> Iterator[str]:
    for each in found.suggestions:
        yield json.dumps(each.to_dict()) + "\n"


def _csv(found: Suggestions) -> Iterator[str]:
    columns = [field.name for field in fields(Suggestion)]
    for cells in (columns, *([each.to_dict()[name] for name in columns] for each in found.suggestions)):
        row = StringIO()
        write_row(row, cells)
        yield row.getvalue()
