"""What a search for new labels found: groups of images, what is known of each, and what is left over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.places import Place


@dataclass(frozen=True)
class ProposedGroup:
    """Images that may be of one new label. A person decides, by the images that are shown.

    No purity is given: how pure groups are on average is known, but not how pure one of them is.

    Example:
        >>> from lmm_classifier import ProposedGroup
        >>> group = ProposedGroup(1, "new/3.png", ["new/3.png", "new/7.png"], ["new/3.png"], "stripes", 0.4)
        >>> group.to_dict()["size"], group.nearest_label
        (2, 'stripes')
    """

    number: int
    """Number of the group, 1 for the one of the most different images."""
    representative: str
    """The image that stands for the group: the most central one, or the one from which it grew."""
    members: Sequence[str]
    """All images of the group, from its center to its rim."""
    shown: Sequence[str]
    """Images that show the group, spread from the center to the rim."""
    nearest_label: str | None
    """The known label that resembles the group most: the group may be a look of it."""
    nearest_similarity: float | None
    """Cosine between the centers of the group and of that label, -1 to 1, higher is more similar."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "members": list(self.members), "shown": list(self.shown), "size": len(self.members)}


@dataclass(frozen=True)
class Discovery:
    """What `discover` found among images without a label.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, discover
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     discovery = discover("new", classifier)
        >>> discovery.images == discovery.found - discovery.labeled - discovery.sampled_out
        True
    """

    groups: Sequence[ProposedGroup]
    """Proposed new labels, first the group with many images that are much less familiar than known ones."""
    about: int
    """Estimated number of new labels. It is off by one or two where there are two to five."""
    tested_groups: Sequence[ProposedGroup]
    """Groups that pass the group test, the largest first: they are less familiar than a known label would be."""
    known: Mapping[str, int]
    """How many images the known labels explain, by label."""
    remainder: Sequence[str]
    """Images in no group that no known label explains either: they make no label."""
    images: int
    """Images that took part."""
    found: int
    """Images that were there; more than `images` where a sample took part, or where some were left out."""
    sampled_out: int
    """Images that are not in the sample."""
    labeled: int
    """Images that were left out because the index holds them already."""
    index_version: int
    """Version of the index that knew the labels."""
    skipped: Sequence[Skipped] = ()
    """Files that could not be read, and what a search passed over."""
    places: Mapping[str, Place] = field(default_factory=dict, repr=False)
    """Where the images are, by name; empty where only vectors are known."""
    hashes: Mapping[str, str] = field(default_factory=dict, repr=False)
    """SHA-256 of their contents, by name; empty where only vectors are known."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "images": self.images,
            "found": self.found,
            "sampled_out": self.sampled_out,
            "labeled": self.labeled,
            "unreadable": sum(file.failed for file in self.skipped),
            "index_version": self.index_version,
            "about": self.about,
            "groups": [group.to_dict() for group in self.groups],
            "tested_groups": [group.to_dict() for group in self.tested_groups],
            "known": dict(self.known),
            "remainder": list(self.remainder),
        }
