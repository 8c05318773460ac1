"""The page of a discovery: each proposed group with images from its center to its rim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmm_classifier.core.errors import OutputError
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.discovery.proposals.discovery import Discovery, ProposedGroup
from lmm_classifier.html.cards import Card, GroupCard
from lmm_classifier.html.page import MAX_CARDS, Section, write_page
from lmm_classifier.html.thumbnails import embed_image


def write_discovery_page(path: Path | str, discovery: Discovery, limits: ImageLimits = ImageLimits()) -> None:
    """Write the proposed groups with their images to one page, whole or not at all.

    Args:
        path: the HTML file.
        discovery: what was found.
        limits: the largest image to show, and what reading it may cost; `config.images.limits` are the configured ones.

    Raises:
        OutputError: the images are known by their vectors alone.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, discover, write_discovery_page
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     write_discovery_page("discovery.html", discover("new", classifier))
        >>> "Proposed labels" in Path("discovery.html").read_text(encoding="utf-8")
        True
    """
    if discovery.images and not discovery.places:
        raise OutputError("There are only vectors of these images, so no page can show them.")
    rest = discovery.remainder
    cards = [
        Card(embed_image(discovery.places[name], name, limits), "no label", is_unknown=True)
        for name in rest[:MAX_CARDS]
    ]
    sections = [
        _section("groups", "Proposed labels", discovery.groups, discovery, limits),
        _section("tested", "Groups that pass the group test", discovery.tested_groups, discovery, limits),
        Section("rest", "Images in no group", len(rest), cards=cards),
    ]
    shown = [section for section in sections if section.count]
    write_page(path, "discovery.html", "Proposed labels", _figures(discovery), shown)


def _figures(discovery: Discovery) -> list[tuple[str, str]]:
    figures = [
        ("images", str(discovery.images)),
        ("new labels", f"about {discovery.about}" if discovery.groups else "none proposed"),
        ("images in groups", str(sum(len(group.members) for group in discovery.groups))),
        ("explained by known labels", str(sum(discovery.known.values()))),
        ("in no group", str(len(discovery.remainder))),
    ]
    if discovery.sampled_out:
        figures.append(("not in the sample", str(discovery.sampled_out)))
    return figures


def _section(
    anchor: str, heading: str, groups: Sequence[ProposedGroup], discovery: Discovery, limits: ImageLimits
) -> Section:
    cards = [_card(group, discovery, limits) for group in groups[:MAX_CARDS]]
    return Section(anchor, heading, len(groups), groups=cards)


def _card(group: ProposedGroup, discovery: Discovery, limits: ImageLimits) -> GroupCard:
    look = f"a look of {group.nearest_label}? similarity {group.nearest_similarity:.2f}" if group.nearest_label else ""
    return GroupCard(
        f"Group {group.number}: {len(group.members)} images",
        look,
        [embed_image(discovery.places[name], name, limits) for name in group.shown],
        len(group.members) - len(group.shown),
    )
