"""The audit page: what is likely wrong in a dataset, with the images that show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lmm_classifier.core.index_location import index_location
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.evaluation.duplicates import Duplicates
from lmm_classifier.evaluation.findings import Audit, Outlier
from lmm_classifier.evaluation.reports.suspect_cards import Correct, suspect_sections
from lmm_classifier.html.cards import Card, GroupCard, neighbor_items
from lmm_classifier.html.page import MAX_CARDS, Folded, Section, write_page
from lmm_classifier.html.tables import Cell, Table
from lmm_classifier.html.thumbnails import Thumbnails, embed_image
from lmm_classifier.index.formats import read_index

_FileOf = Callable[[str], Place]  # the image file of an example
_OPEN_ROWS = 20  # of a table, before the others
_GROUP_IMAGES = 4  # images shown of a group of duplicates


def write_audit_page(
    path: Path | str,
    audit: Audit,
    index_path: Path | str,
    limits: ImageLimits = ImageLimits(),
    correct: Correct | None = None,
) -> None:
    """Write the findings of an audit with their images to one page, whole or not at all.

    Args:
        path: the HTML file.
        audit: the findings.
        index_path: the index that was audited; it knows where the images are.
        correct: returns the command that gives an example the suggested label, to show on its card. None shows none.
        limits: the largest image to show, and what reading it may cost; `config.images.limits` are the configured ones.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import PipelineConfig, audit_index, write_audit_page
        >>> write_audit_page("audit.html", audit_index("index", PipelineConfig.offline()), "index")
        >>> "Audit of the dataset" in Path("audit.html").read_text(encoding="utf-8")
        True
    """
    file_of = read_index(index_location(index_path)).file_of
    thumbnails = Thumbnails(file_of, limits)
    outliers = [_outlier_card(outlier, file_of, thumbnails) for outlier in audit.outliers[:MAX_CARDS]]
    contradictions = [group for group in audit.duplicates if group.contradict]
    consistent = [group for group in audit.duplicates if not group.contradict]
    sections = [
        *suspect_sections(audit, file_of, thumbnails, correct),
        _duplicates("contradictions", "Same image, several labels", contradictions, file_of, limits),
        _duplicates("duplicates", "Duplicates", consistent, file_of, limits),
        Section("outliers", "Outliers", len(audit.outliers), cards=outliers),
        _pairs(audit),
        _thin(audit),
    ]
    filled = [section for section in sections if section.count]
    write_page(path, "audit.html", "Audit of the dataset", audit.figures, filled, thumbnails)


def _outlier_card(outlier: Outlier, file_of: _FileOf, thumbnails: Thumbnails) -> Card:
    return Card(
        embed_image(file_of(outlier.path), outlier.path, thumbnails.limits),
        outlier.label,
        f"familiarity {outlier.familiarity:.1f}",
        neighbor_items(outlier.neighbors, thumbnails),
    )


def _duplicates(
    anchor: str, heading: str, groups: Sequence[Duplicates], file_of: _FileOf, limits: ImageLimits
) -> Section:
    cards = [_group_card(group, file_of, limits) for group in groups[:MAX_CARDS]]
    return Section(anchor, heading, len(groups), groups=cards)


def _group_card(group: Duplicates, file_of: _FileOf, limits: ImageLimits) -> GroupCard:
    return GroupCard(
        " / ".join(dict.fromkeys(group.labels)),
        "same bytes" if group.exact else f"near duplicates by {group.compared}, similarity {group.similarity:.3f}",
        [embed_image(file_of(path), path, limits) for path in group.paths[:_GROUP_IMAGES]],
        max(len(group.paths) - _GROUP_IMAGES, 0),
    )


def _pairs(audit: Audit) -> Section:
    head = ["label", "predicted as", "examples", "of its examples"]
    rows = [
        [pair.label, pair.predicted_as, str(pair.count), f"{100 * pair.fraction:.0f}%"] for pair in audit.confusable
    ]
    return _table("pairs", "Confusable labels", head, rows, "pairs")


def _thin(audit: Audit) -> Section:
    rows = [[label, str(count)] for label, count in audit.thin.items()]
    return _table("thin", "Labels with few examples", ["label", "examples"], rows, "labels")


def _table(anchor: str, heading: str, head: Sequence[str], rows: Sequence[Sequence[Cell]], what: str) -> Section:
    """Return a section with a table; what is beyond its first rows is folded."""
    rest = rows[_OPEN_ROWS:]
    folded = [Folded(f"{len(rest)} more {what}", table=Table(head, rest))] if rest else []
    return Section(anchor, heading, len(rows), table=Table(head, rows[:_OPEN_ROWS]), folded=folded)
