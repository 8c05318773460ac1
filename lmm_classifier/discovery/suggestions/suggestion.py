"""Images to label next, in an order, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.places import Place
from lmm_classifier.discovery.suggestions.label_order import Reason
from lmm_classifier.discovery.suggestions.stopping import Stopping


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image to label, and why.

    Example:
        >>> from lmm_classifier import Suggestion
        >>> suggestion = Suggestion(1, 1, "new/3.png", "ambiguous", weight=0.9, gain=2.4, label="stripes", score=0.5)
        >>> suggestion.to_dict()["reason"]
        'ambiguous'
    """

    rank: int
    """Place in the order, 1 for the first."""
    batch: int
    """Number of its batch, 1 for the first. Label the images of a batch together, then ask again."""
    path: str
    """Name of the image."""
    reason: Reason
    """`new`: it may be of a new label. `ambiguous`: labels compete. `cold_start`: nothing is known of it."""
    weight: float
    """How little is known of it, 0 to 1, higher is less."""
    gain: float
    """How much it tells of all images: summed weight times similarity that it adds to those before; 0 adds nothing."""
    label: str | None = None
    """The most probable label; None without an index."""
    score: float | None = None
    """Its probability, 0 to 1; None without an index."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Suggestions:
    """What `suggest` found: images to label next.

    Example:
        >>> from lmm_classifier import Suggestion, Suggestions
        >>> some = [Suggestion(rank, 1, f"{rank}.png", "new", weight=1.0, gain=1.0) for rank in (1, 2)]
        >>> Suggestions(some, None, images=9, found=9, sampled_out=0, labeled=0, index_version=1).priorities()
        {'1.png': 1.0, '2.png': 0.5}
    """

    suggestions: Sequence[Suggestion]
    """In the order in which to label them."""
    stopping: Stopping | None
    """How many images decide themselves; None where no calibration measured how often results are right."""
    images: int
    """Images that took part."""
    found: int
    """Images that were there."""
    sampled_out: int
    """Images that are not in the sample that took part."""
    labeled: int
    """Images that were left out because the index holds them already."""
    index_version: int | None
    """Version of the index that judged the images; None without an index."""
    skipped: Sequence[Skipped] = ()
    """Files that could not be read, and what a search passed over."""
    places: Mapping[str, Place] = field(default_factory=dict, repr=False)
    """Where the suggested images are, by name; empty where only vectors are known."""

    def priorities(self) -> dict[str, float]:
        """Return a priority of each suggested image, above 0 to 1, higher comes first; such as for labeling tools.

        It falls evenly from the first suggestion to the last one.
        """
        count = len(self.suggestions)
        return {each.path: 1 - (each.rank - 1) / count for each in self.suggestions}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "images": self.images,
            "found": self.found,
            "sampled_out": self.sampled_out,
            "labeled": self.labeled,
            "unreadable": sum(file.failed for file in self.skipped),
            "index_version": self.index_version,
            "stopping": None if self.stopping is None else self.stopping.to_dict(),
            "suggestions": [each.to_dict() for each in self.suggestions],
        }
