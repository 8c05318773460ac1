"""Cards: one image, or one group of images, with what was found and the nearest examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmm_classifier.core.datatypes import Classification, Neighbor
from lmm_classifier.data.places import NOWHERE, Place, is_nowhere
from lmm_classifier.html.thumbnails import MISSING, EmbeddedImage, Thumbnails, embed_image

_NEIGHBORS = 5


@dataclass(frozen=True, slots=True)
class Grade:
    """Whether a result is correct (None where the truth is not known), and the words for it."""

    correct: bool | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class NeighborItem:
    """A neighbor on a card; `css_class` shows its image, or `url` does where there is one."""

    css_class: str
    path: str
    label: str
    similarity: float
    url: str = ""  # of a card that is not on a page of its own, where CSS classes would be those of other outputs

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


def result_card(image: Place, result: Classification, grade: Grade, thumbnails: Thumbnails) -> Card:
    """Show an image with its result and its nearest examples."""
    name = short_name(image)
    shown = embed_image(image, name, thumbnails.limits)
    return card_of(shown, result, grade, neighbor_items(nearest(result), thumbnails))


def short_name(image: Place | str) -> str:
    """Return the name of an image with that of its folder."""
    path = Path(str(image))
    return "/".join((path.relative_to(NOWHERE) if is_nowhere(path) else path).parts[-2:])


def card_of(
    image: EmbeddedImage, result: Classification, grade: Grade = Grade(None), neighbors: Sequence[NeighborItem] = ()
) -> Card:
    """Show a result next to an image."""
    numbers = ""
    if result.candidates:
        best = f"best label {result.candidates[0].label}, " if result.is_unknown else ""
        numbers = f"{best}score {result.score:.2f}"
    return Card(
        image=image,
        heading=result.label,
        numbers=numbers,
        neighbors=neighbors,
        grade=grade,
        is_unknown=result.is_unknown,
        percent=100 * min(max(result.score, 0.0), 1.0) if result.candidates else None,
        reranked=result.used_reranker,
        why=result.why,
    )


def neighbor_items(neighbors: Sequence[Neighbor], thumbnails: Thumbnails, inline: bool = False) -> list[NeighborItem]:
    """Show neighbors, small, with label and similarity; with `inline` each has its image in itself."""
    return [
        NeighborItem(
            thumbnails.css_class(neighbor.example.path),
            neighbor.example.path,
            neighbor.example.label,
            neighbor.similarity,
            (thumbnails.url(neighbor.example.path) or "") if inline else "",
        )
        for neighbor in neighbors
    ]


def nearest(result: Classification) -> list[Neighbor]:
    """Return at most 5 neighbors of all candidates, nearest first."""
    neighbors = [neighbor for candidate in result.candidates for neighbor in candidate.neighbors]
    return sorted(neighbors, key=lambda neighbor: -neighbor.similarity)[:_NEIGHBORS]
