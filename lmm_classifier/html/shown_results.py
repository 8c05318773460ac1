"""Results with their images and nearest examples, for a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.paths import expand_home
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.html.cards import Card, card_of, nearest, neighbor_items, short_name
from lmm_classifier.html.fragment import fragment
from lmm_classifier.html.page import Section
from lmm_classifier.html.thumbnails import EmbeddedImage, Thumbnails, embed_image

_NO_FILE = "No image: it was given as an array, as bytes or as a vector, not as a file."
_LEGEND = (
    "Score: the probability that the label is correct, 0 to 1. Small images: the nearest examples with their label and "
    "cosine similarity, at most 1."
)


@dataclass(frozen=True, slots=True, repr=False)
class ShownResults:
    """Results as a notebook shows them; printed, they are one line each.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, PipelineConfig
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     shown = classifier.show(classifier.classify(sorted(Path("new").glob("*.png"))[0]))
        >>> len(shown.results), shown.html.startswith('<div class="lmm-classifier">')
        (1, True)
    """

    results: tuple[Classification, ...]
    """All results, in order, also those without a card."""
    html: str
    """HTML without scripts, with its images in it."""

    @classmethod
    def of(
        cls,
        results: Classification | Iterable[Classification],
        file_of: Callable[[str], Place],
        limits: ImageLimits,
        max_cards: int,
    ) -> ShownResults:
        """Read the images of the first `max_cards` results and of their nearest examples.

        Args:
            results: one result or several.
            file_of: returns the image file of an example by its id.
            limits: the largest image to show, and what reading it may cost.
            max_cards: results that get a card, at least 1; the others are counted.

        Raises:
            ConfigError: the argument is no result, or `max_cards` is less than 1.
        """
        listed = _checked(results)
        if max_cards < 1:
            raise ConfigError(f"max_cards is {max_cards}. Expected the number of results to show, at least 1.")
        thumbnails = Thumbnails(file_of, limits)
        cards = [_card(result, thumbnails) for result in islice(listed, max_cards)]
        title = f"{len(listed)} result{'' if len(listed) == 1 else 's'}"
        unknown = sum(result.is_unknown for result in listed)
        figures = [("unknown", str(unknown))] if unknown else []
        section = Section("results", "", None, cards=cards)
        left = len(listed) - len(cards)
        notes = [f"and {left} more"] if left else []
        return cls(listed, fragment(title, figures, [section] if cards else [], [*notes, _LEGEND] if cards else []))

    def __repr__(self) -> str:
        return f"ShownResults({len(self.results)} results, {sum(result.is_unknown for result in self.results)} unknown)"

    def _repr_html_(self) -> str:
        """Return the cards, for a notebook."""
        return self.html

    def __str__(self) -> str:
        return "\n".join(f"{result.path or 'no file'}: {result.label} {result.score:.2f}" for result in self.results)


def _checked(results: object) -> tuple[Classification, ...]:
    """Return the results; raise ConfigError where they are none."""
    if isinstance(results, Classification):
        return (results,)
    listed = tuple(results) if isinstance(results, Iterable) and not isinstance(results, str | bytes) else (results,)
    for result in listed:
        if not isinstance(result, Classification):
            raise ConfigError(
                f"Expected results, such as classify and classify_paths give, got {type(result).__name__}. Classify "
                "the images first."
            )
    return listed


def _card(result: Classification, thumbnails: Thumbnails) -> Card:
    neighbors = neighbor_items(nearest(result), thumbnails, inline=True)
    return card_of(_image(result, thumbnails.limits), result, neighbors=neighbors)


def _image(result: Classification, limits: ImageLimits) -> EmbeddedImage:
    if result.path is None:
        return EmbeddedImage("", error=_NO_FILE)
    return embed_image(expand_home(Path(result.path)), short_name(result.path), limits, result.content_hash)
