"""What to review first: groups of similar open items, the one that teaches most before the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.datatypes import DECIDE_THEMSELVES
from lmm_classifier.discovery.groups import find_groups
from lmm_classifier.discovery.landscape import Landscape
from lmm_classifier.discovery.proposals.propose import KnownLabels, propose
from lmm_classifier.discovery.suggestions.label_order import LabelWeights, label_order
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.review.revote import OpenVotes

Kind = Literal["new_class", "compete", "near_threshold"]
_UNFAMILIAR = ("novel", "forced")
_NEAR_CONFIDENCE = 0.05  # a score so little below its threshold is near to it
_NEAR_FAMILIARITY = 0.25  # in robust standard deviations
_PICKS = 200  # groups that are ordered by what they teach; the others follow by their gain


@dataclass(frozen=True)
class ReviewGroup:
    """Similar open items of one kind; the first one represents them, and the next is the most similar to it.

    `new_class`: they may be of a label that the index does not have; a proposal is one new label, if a person agrees.
    `compete`: labels compete. `near_threshold`: a threshold is missed by little.
    """

    kind: Kind
    items: tuple[int, ...]  # ids
    suggested_label: str | None  # None for a new class: its nearest label is likely wrong
    gain: float  # size x tightness x (1 - score)
    tightness: float  # mean cosine with the group's mean, 0 to 1
    score: float  # mean probability of the best labels, 0 to 1
    nearest_label: str | None = None  # of a new class: the label whose examples resemble it most
    is_proposal: bool = False  # as `discover` proposes groups; else these items are in none of its groups

    @property
    def id(self) -> str:
        """Return a name that lasts as long as the group has its first item."""
        return f"{self.kind}-{self.items[0]}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"id": self.id, **asdict(self), "items": list(self.items), "size": len(self.items)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReviewGroup:
        """Undo `to_dict`."""
        kind, items, label = values["kind"], tuple(values["items"]), values["suggested_label"]
        numbers = (values["gain"], values["tightness"], values["score"])
        return cls(kind, items, label, *numbers, values["nearest_label"], values["is_proposal"])


def ordered_groups(
    open_votes: OpenVotes, landscape: Landscape, thresholds: Thresholds, held_out: Float64Array
) -> list[ReviewGroup]:
    """Return groups of the open items, the one that teaches most first.

    Args:
        open_votes: the newest votes on undecided items; those that decide themselves are in no group.
        landscape: the space in which they are compared.
        thresholds: in use.
        held_out: familiarity of the examples, each held out, (N,) ascending.
    """
    votes = open_votes.votes
    rows = np.array([row for row, reason in enumerate(votes.reasons) if reason not in DECIDE_THEMSELVES], np.int64)
    if not len(rows):
        return []
    embeddings = landscape.space.map([each[rows] for each in open_votes.embeddings])
    names = [f"{open_votes.items[row].id:015}" for row in rows]
    known = KnownLabels(landscape.label_sums, landscape.cut, held_out)
    proposals = propose(embeddings, votes.familiarity[rows], names, known).groups
    kinds = [
        "new_class" if proposal >= 0 else _kind(open_votes, row, thresholds)
        for row, proposal in zip(rows.tolist(), proposals.tolist())
    ]
    members = _members(open_votes, rows, kinds, proposals, embeddings, names, landscape.cut)
    weights = LabelWeights.of(votes.at(rows.tolist()), held_out)
    picks = label_order(embeddings, weights, names, min(_PICKS, len(rows)), landscape.labeled).rows
    group_of = {row: number for number, group in enumerate(members) for row in group.tolist()}
    representative = {group_of[pick]: pick for pick in reversed(picks.tolist())}
    first = list(dict.fromkeys(group_of[pick] for pick in picks.tolist()))
    groups = [
        _group(open_votes, rows, kinds, embeddings, group, representative.get(number))
        for number, group in enumerate(members)
    ]
    groups = [
        _new_class(group, embeddings[places], landscape, bool((proposals[places] >= 0).all()), open_votes)
        if group.kind == "new_class"
        else group
        for group, places in zip(groups, members, strict=True)
    ]
    rest = sorted(set(range(len(groups))) - set(first), key=lambda number: (-groups[number].gain, groups[number].items))
    return [groups[number] for number in (*first, *rest)]


def _new_class(
    group: ReviewGroup, inside: Float32Array, landscape: Landscape, is_proposal: bool, open_votes: OpenVotes
) -> ReviewGroup:
    """Say which label a new class resembles most: it may be a look of it that the dataset lacks."""
    cosines = directions(landscape.label_sums.astype(np.float32))[0] @ inside.mean(axis=0)
    nearest = open_votes.votes.labels[int(cosines.argmax())] if len(cosines) else None
    return replace(group, nearest_label=nearest, is_proposal=is_proposal and len(group.items) > 1)


def _kind(open_votes: OpenVotes, row: int, thresholds: Thresholds) -> Kind:
    votes = open_votes.votes
    confident = votes.scores[row] >= thresholds.confidence.value
    if votes.reasons[row] in _UNFAMILIAR:
        by_little = thresholds.statistic == "familiarity" and (
            votes.familiarity[row] >= thresholds.novelty.value - _NEAR_FAMILIARITY
        )
        return "near_threshold" if by_little and confident else "new_class"
    return "near_threshold" if votes.scores[row] >= thresholds.confidence.value - _NEAR_CONFIDENCE else "compete"


def _members(
    open_votes: OpenVotes,
    rows: IntArray,
    kinds: Sequence[Kind],
    proposals: IntArray,
    embeddings: Float32Array,
    names: Sequence[str],
    cut: float,
) -> list[IntArray]:
    """Return the places of each group.

    That is a proposed new label, or items of one kind, and but for new classes of one best label, that are alike.
    """
    parts: dict[tuple[str, int], list[int]] = {}
    for place, kind in enumerate(kinds):
        if open_votes.items[rows[place]].apart:
            key = ("apart", place)  # a person said that it belongs to no group
        elif proposals[place] >= 0:
            key = ("proposal", int(proposals[place]))
        else:
            key = (kind, -1 if kind == "new_class" else int(open_votes.votes.label_ids[rows[place]]))
        parts.setdefault(key, []).append(place)
    groups = []
    for (origin, _), places in parts.items():
        inside = np.array(places, np.int64)
        if origin == "proposal":
            groups.append(inside)
            continue
        numbers = find_groups(embeddings[inside], [names[place] for place in places], cut)
        groups += [inside[numbers == number] for number in range(int(numbers.max()) + 1)]
    return groups


def _group(
    open_votes: OpenVotes,
    rows: IntArray,
    kinds: Sequence[Kind],
    embeddings: Float32Array,
    places: IntArray,
    representative: int | None,
) -> ReviewGroup:
    inside, votes = embeddings[places], open_votes.votes
    mean = inside.mean(axis=0)
    # the mean cosine of unit vectors with the direction of their mean is the norm of that mean
    tightness = min(float(np.linalg.norm(mean)), 1.0)
    first = representative if representative is not None else int(places[(inside @ mean).argmax()])
    similar = inside @ embeddings[first]
    in_order = [first, *(place for place in places[np.argsort(-similar, kind="stable")].tolist() if place != first)]
    score = float(votes.scores[rows[places]].mean())
    kind = kinds[first]
    label = None if kind == "new_class" else votes.labels[int(votes.label_ids[rows[first]])]
    gain = len(places) * tightness * (1 - score)
    items = tuple(open_votes.items[rows[place]].id for place in in_order)
    return ReviewGroup(kind, items, label, gain, tightness, score)
