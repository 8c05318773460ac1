"""The labels to check: the first ones open, the likely wrong before the others, the rest in folded parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from lmm_classifier.data.places import Place
from lmm_classifier.evaluation.audit import Audit, LabelIssue
from lmm_classifier.html.cards import Card, Grade, neighbor_items
from lmm_classifier.html.filters import filtered
from lmm_classifier.html.page import MAX_CARDS, Folded, Section
from lmm_classifier.html.tables import Table
from lmm_classifier.html.thumbnails import Thumbnails, embed_image

_WITH_IMAGES = 600  # labels to check that are shown with images; others are listed in tables
_TABLE_ROWS = 500

_FileOf = Callable[[str], Place]  # the image file of an example
Correct = Callable[[LabelIssue], str]  # the command that gives an example the suggested label


def suspect_sections(audit: Audit, file_of: _FileOf, thumbnails: Thumbnails, correct: Correct | None) -> list[Section]:
    """Return the section of likely wrong labels, and that of the others; each holds all its labels."""
    sections = []
    likely, others = audit.likely_issues, [issue for issue in audit.label_issues if not issue.likely]
    used = 0
    for anchor, heading, issues in (
        ("labels", "Likely wrong labels", likely),
        ("suspects", "Other labels to check", others),
    ):
        with_images = issues[: max(_WITH_IMAGES - used, 0)]
        used += len(with_images)
        found = filtered(
            anchor,
            [(issue.label, _card(issue, file_of, thumbnails, correct)) for issue in with_images],
            lambda label: f"labeled {label}",
            Counter(issue.label for issue in issues),
        )
        parts = [(start, found.cards[start : start + MAX_CARDS]) for start in range(0, len(with_images), MAX_CARDS)]
        is_open = parts and issues is (likely or others)
        folded = [
            Folded(f"{start + 1} to {start + len(cards)}", cards) for start, cards in parts[1 if is_open else 0 :]
        ]
        folded += _tables(issues, len(with_images), correct)
        shown = parts[0][1] if is_open else ()
        sections.append(Section(anchor, heading, len(issues), filters=found.filters, cards=shown, folded=folded))
    return sections


def _card(issue: LabelIssue, file_of: _FileOf, thumbnails: Thumbnails, correct: Correct | None) -> Card:
    return Card(
        embed_image(file_of(issue.path), issue.path, thumbnails.limits),
        f"{issue.suggested}?",
        f"label quality {issue.label_quality:.2f}",
        neighbor_items(issue.neighbors, thumbnails),
        Grade(False, f"labeled {issue.label}"),
        command=correct(issue) if correct else "",
    )


def _tables(issues: Sequence[LabelIssue], start: int, correct: Correct | None) -> list[Folded]:
    """Return the issues from `start` on in tables."""
    head = ["image", "labeled", "suggested", "label quality", *(["command"] if correct else [])]
    tables = []
    for first in range(start, len(issues), _TABLE_ROWS):
        part = issues[first : first + _TABLE_ROWS]
        rows = [
            [
                issue.path,
                issue.label,
                issue.suggested,
                f"{issue.label_quality:.2f}",
                *([correct(issue)] if correct else []),
            ]
            for issue in part
        ]
        tables.append(Folded(f"{first + 1} to {first + len(part)}, without images", table=Table(head, rows)))
    return tables
