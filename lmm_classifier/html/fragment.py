"""A part of a page for notebooks: figures, tables, charts and cards, with a style that reaches nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from lmm_classifier.core.progress import Skipped
from lmm_classifier.html.environment import environment
from lmm_classifier.html.page import Folded, Section
from lmm_classifier.html.tables import Cell, Table

_OPEN_ROWS = 10  # of a table, before the others
_MAX_ROWS = 200  # of a table with the folded ones, so that a notebook stays small


def fragment(
    title: str,
    figures: Sequence[tuple[str, str]],
    sections: Sequence[Section] = (),
    notes: Sequence[str] = (),
) -> str:
    """Return HTML without scripts, which takes the colors of the notebook around it.

    Args:
        title: heading.
        figures: names and values below it.
        sections: tables, charts and cards, in order. A section of which nothing is left to show is dropped.
        notes: sentences at the end.
    """
    filled = [section for section in sections if section.count != 0]
    template = environment().get_template("fragment.html")
    return template.render(title=title, figures=figures, sections=filled, notes=notes)


def table_section(anchor: str, heading: str, head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Section:
    """Return a section with a table of 10 rows; at most 190 more are folded, and the others are counted."""
    first, rest = rows[:_OPEN_ROWS], rows[_OPEN_ROWS:_MAX_ROWS]
    folded = []
    if rest:
        left = len(rows) - _MAX_ROWS
        more = f" of {len(rows) - _OPEN_ROWS}" if left > 0 else ""
        folded = [Folded(f"{len(rest)}{more} more", table=Table(head, rest))]
    return Section(anchor, heading, len(rows), table=Table(head, first), folded=folded)


def skipped_section(files: Sequence[Skipped], heading: str = "Skipped files") -> Section:
    """Return a section with skipped files and the reasons, those that should be images first."""
    listed = sorted(files, key=lambda file: (not file.failed, file.path))
    rows = [[file.path, file.kind, file.reason] for file in listed]
    return table_section("skipped", heading, ["file", "kind", "reason"], rows)
