"""Cards: one image, or one group of images, with what was found and the nearest examples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmm_classifier.core.datatypes import Classification, Neighbor
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.evaluation.levels import is_right, is_rolled_up
from lmm_classifier.evaluation.reports.thumbnails import MISSING, EmbeddedImage, Thumbnails, embed_image
from lmm_classifier.evaluation.results import LabeledResult

_NEIGHBORS = 5


@dataclass(frozen=True, slots=True)
class Grade:
    """Whether a result is correct (None where the truth is not known), and the words for it."""

    correct: bool | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class NeighborItem:
    """A neighbor on a card; `css_class` shows its image."""

    css_class: str
    path: str
    label: str
    similarity: float

    @property
    def is_missing(self) -> bool:
        """Return whether its image cannot be shown."""
        return self.css_class == MISSING


@dataclass(frozen=True, slots=True)
class Card:
    """One image with what was found about it."""

    image: EmbeddedImage
    heading: str
    numbers: str = ""
    neighbors: Sequence[NeighborItem] = ()
    grade: Grade = Grade(None)
    is_unknown: bool = False
    percent: float | None = None  # length of the bar above the numbers, 0 to 100; None draws no bar
    reranked: bool = False
    why: str = ""
    command: str = ""  # that corrects what the card shows, to paste into a shell
    filters: Sequence[str] = ()  # CSS classes by which filters choose it


@dataclass(frozen=True, slots=True)
class GroupCard:
    """Several images side by side."""

    heading: str
    numbers: str
    images: Sequence[EmbeddedImage]
    not_shown: int  # images of the group that have no room


def grade_result(entry: LabeledResult, labels: Collection[str], hierarchy: LabelHierarchy | None = None) -> Grade:
    """Compare a result with the truth; an image of none of `labels` is correct when it is called unknown.

    A coarse label is correct where it stands above the truth in the hierarchy; without one it has no grade.
    """
    result, truth = entry.result, entry.truth
    if truth is None or result.decision.reason == "unreadable":
        return Grade(None)
    if is_rolled_up(entry.result):
        if hierarchy is None or truth not in {*labels, *hierarchy.above}:
            return Grade(None, f"truth: {truth}")
        correct = is_right(entry.result, truth, hierarchy)
        return Grade(correct, f"{'correct, coarser than' if correct else 'wrong,'} truth: {truth}")
    if truth not in labels:
        words = "correct, an unknown image" if result.is_unknown else "wrong, an unknown image"
        return Grade(result.is_unknown, f"{words}: {truth}")
    correct = not result.is_unknown and result.label == truth
    return Grade(correct, "correct" if correct else f"wrong, truth: {truth}")


def result_card(entry: LabeledResult, grade: Grade, thumbnails: Thumbnails) -> Card:
    """Show an image with its result and its nearest examples."""
    result, name = entry.result, "/".join(Path(str(entry.image)).parts[-2:])
    numbers = ""
    if result.candidates:
        best = f"best label {result.candidates[0].label}, " if result.is_unknown else ""
        numbers = f"{best}score {result.score:.2f}"
    return Card(
        image=embed_image(entry.image, name, thumbnails.limits),
        heading=result.label,
        numbers=numbers,
        neighbors=neighbor_items(_nearest(result), thumbnails),
        grade=grade,
        is_unknown=result.is_unknown,
        percent=100 * min(max(result.score, 0.0), 1.0) if result.candidates else None,
        reranked=result.used_reranker,
        why=result.why,
    )


def neighbor_items(neighbors: Sequence[Neighbor], thumbnails: Thumbnails) -> list[NeighborItem]:
    """Show neighbors, small, with label and similarity."""
    return [
        NeighborItem(
            thumbnails.css_class(neighbor.example.path),
            neighbor.example.path,
            neighbor.example.label,
            neighbor.similarity,
        )
        for neighbor in neighbors
    ]


def _nearest(result: Classification) -> list[Neighbor]:
    neighbors = [neighbor for candidate in result.candidates for neighbor in candidate.neighbors]
    return sorted(neighbors, key=lambda neighbor: -neighbor.similarity)[:_NEIGHBORS]
