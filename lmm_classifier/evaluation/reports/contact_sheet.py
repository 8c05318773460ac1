"""The contact sheet: a page that shows every image with its result and its nearest examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.labels import normal_label
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.readers.dataset_spec import DatasetSpec, local_path
from lmm_classifier.data.readers.opening import open_root
from lmm_classifier.evaluation.reports.grading import entry_card, grade_result
from lmm_classifier.evaluation.results import LabeledResult
from lmm_classifier.html.cards import Card, Grade
from lmm_classifier.html.filters import filtered
from lmm_classifier.html.page import Section, write_page
from lmm_classifier.html.thumbnails import Thumbnails

_SECTIONS = {
    "mistakes": "Mistakes",
    "reranked": "Reranked",
    "unknown": "Unknown",
    "accepted": "Accepted",
}


def write_contact_sheet(
    path: Path | str,
    title: str,
    summary: Sequence[tuple[str, str]],
    entries: Iterable[LabeledResult],
    image_root: DatasetSpec | Path | str,
    limits: ImageLimits = ImageLimits(),
) -> None:
    """Write a page with a card for every result, mistakes first. The page is written whole or not at all.

    Args:
        path: the HTML file.
        title: heading of the page.
        summary: names and values at the top.
        entries: images with their results. An image that cannot be read gets a placeholder.
        image_root: the dataset, where the images of the neighbors are. Of a folder the folders are the labels: an image
            whose truth is none of them is correct when it is called unknown.
        limits: the largest image to show, and what reading it may cost; `config.images.limits` are the configured ones.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, LabeledResult, PipelineConfig, write_contact_sheet
        >>> classifier = HybridClassifier(PipelineConfig.offline())
        >>> images = sorted(Path("new").glob("*.png"))
        >>> results = classifier.classify_paths(images)
        >>> entries = [LabeledResult(image, result) for image, result in zip(images, results)]
        >>> write_contact_sheet("sheet.html", "New images", [("images", str(len(images)))], entries, "images")
        >>> Path("sheet.html").read_text(encoding="utf-8").count("</article>") == len(images)
        True
    """
    entries, stored = list(entries), DatasetSpec.of(image_root).stored()
    root = open_root(stored)
    labels = _labels(local_path(stored), entries)
    thumbnails = Thumbnails(lambda path: root / path, limits)
    cards: dict[str, list[tuple[str, Card]]] = {anchor: [] for anchor in _SECTIONS}
    for entry in entries:
        grade = grade_result(entry, labels)
        cards[_anchor(entry.result, grade)].append((_name(entry), entry_card(entry, grade, thumbnails)))
    sections = [result_section(anchor, heading, cards[anchor]) for anchor, heading in _SECTIONS.items()]
    sections = [section for section in sections if section.count]
    write_page(path, "results.html", title, summary, sections, thumbnails)


def result_section(anchor: str, heading: str, cards: Sequence[tuple[str, Card]], total: int | None = None) -> Section:
    """Return a section of cards, each with the name by which it can be chosen.

    Args:
        anchor: of the section.
        heading: of the section.
        cards: with their names.
        total: images of the section, where some have no card.
    """
    found = filtered(anchor, cards)
    return Section(anchor, heading, len(cards) if total is None else total, filters=found.filters, cards=found.cards)


def _name(entry: LabeledResult) -> str:
    """Return the label by which a result is chosen: the given one, with the truth where it differs."""
    given = entry.result.label
    return given if entry.truth in (None, given) else f"{entry.truth} as {given}"


def _labels(folder: Path | None, entries: Sequence[LabeledResult]) -> set[str]:
    """Return all labels of the dataset that are known from its folders and from the candidates."""
    candidates = {candidate.label for entry in entries for candidate in entry.result.candidates}
    folders = set()
    with suppress(OSError):  # a folder that cannot be listed must not cost the page
        children = [] if folder is None else folder.iterdir()
        folders = {normal_label(child.name) for child in children if child.is_dir()}
    return candidates | folders


def _anchor(result: Classification, grade: Grade) -> str:
    """Return the section of a result."""
    if grade.correct is False:
        return "mistakes"
    if result.used_reranker or result.decision.reason in ("reranked", "reranker_failed"):
        return "reranked"
    return "unknown" if result.is_unknown else "accepted"
