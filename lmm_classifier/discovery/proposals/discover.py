"""Discover new labels among images that have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.discovery.proposals.discovery import Discovery, ProposedGroup
from lmm_classifier.discovery.proposals.group_test import unfamiliar_groups
from lmm_classifier.discovery.proposals.known_labels import known_labels, usual_familiarity
from lmm_classifier.discovery.proposals.propose import KNOWN, REMAINDER, KnownLabels, Proposals, propose
from lmm_classifier.discovery.unlabeled import UnlabeledImages
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.pipeline.classifier import HybridClassifier

_SHOWN = 6  # members that are shown


def discover(
    images: UnlabeledImages | DatasetSpec | Path | str,
    classifier: HybridClassifier,
    groups: int | None = None,
    progress: ProgressCallback | None = None,
) -> Discovery:
    """Propose groups of images that no label of the index explains, each of which may be a new label.

    It does not start from the images that are called unknown: many images of new labels look familiar. Seeds where
    many new images resemble each other compete with the known labels for all images. Copies of an image count once, and
    follow it. Of more than 100,000 images a sample takes part; the result tells.

    Args:
        images: a folder or any other dataset, whose labels are ignored; or images that were encoded before.
        classifier: knows the labels.
        groups: number of groups to look for; by default it is estimated.
        progress: called while images are encoded; raise `Cancelled` in it to stop.

    Raises:
        DatasetError: the source cannot be read, or holds no image.
        ConfigError: `groups` is below 1.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, discover
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     discovery = discover("new", classifier)
        >>> grouped = sum(len(group.members) for group in discovery.groups)
        >>> discovery.images == grouped + sum(discovery.known.values()) + len(discovery.remainder)
        True
    """
    if groups is not None and groups < 1:
        raise ConfigError(f"Expected a number of groups of at least 1, got {groups}.")
    found = images if isinstance(images, UnlabeledImages) else UnlabeledImages.find(images, classifier, progress)
    flow, votes = found.flow, found.votes
    known, embeddings = known_labels(flow, found.landscape), found.mapped
    rows, content_of = _different(found)
    different = embeddings[rows], votes.familiarity[rows], [found.names[row] for row in rows.tolist()]
    proposals = propose(*different, known, groups).spread(rows, content_of)
    tested = [
        np.flatnonzero(np.isin(content_of, members))
        for members in unfamiliar_groups(*different, known.sums, known.cut, usual_familiarity(flow))
    ]
    labels, names = flow.index.label_names, found.names
    is_unfamiliar = np.isin(np.array(votes.reasons, dtype=np.str_), ("novel", "forced"))
    is_known = (proposals.groups == KNOWN) & ~is_unfamiliar
    is_left = (proposals.groups == REMAINDER) | ((proposals.groups == KNOWN) & is_unfamiliar)
    return Discovery(
        _proposed(proposals, embeddings, names, labels),
        proposals.about,
        _tested(tested, embeddings, names, labels, known),
        dict(sorted(Counter(labels[label] for label in proposals.label_ids[is_known].tolist()).items())),
        [names[row] for row in np.flatnonzero(is_left).tolist()],
        len(found),
        found.found,
        found.sampled_out,
        found.labeled,
        flow.index.contents.version,
        found.skipped,
        dict(zip(names, found.places)),
        dict(zip(names, found.hashes)) if found.places else {},
    )


def _different(found: UnlabeledImages) -> tuple[IntArray, IntArray]:
    """Return the rows of m images with different contents, and for each image (n,) its content among these.

    Copies say no more than one of them: an image that comes five times makes no label.
    """
    if not found.places:  # of vectors no content is known
        return np.arange(len(found)), np.arange(len(found))
    _, rows, content_of = np.unique(np.array(found.hashes), return_index=True, return_inverse=True)
    return rows.astype(np.int64), content_of.astype(np.int64)


def _proposed(
    proposals: Proposals, embeddings: Float32Array, names: Sequence[str], labels: Sequence[str]
) -> list[ProposedGroup]:
    groups = []
    for number, center in enumerate(proposals.centers):
        members = _from_center(proposals.members(number), center, embeddings)
        seed = int(proposals.seeds[number])
        nearest = int(proposals.group_labels[number])
        groups.append(_group(number, members, seed, names, labels, nearest, float(proposals.similarities[number])))
    return groups


def _tested(
    tested: Sequence[IntArray],
    embeddings: Float32Array,
    names: Sequence[str],
    labels: Sequence[str],
    known: KnownLabels,
) -> list[ProposedGroup]:
    label_centers = directions(known.sums.astype(np.float32))[0]
    groups = []
    for number, rows in enumerate(tested):
        center = directions(embeddings[rows].sum(axis=0, keepdims=True))[0][0]
        cosines = label_centers @ center
        nearest = int(cosines.argmax())
        members = _from_center(rows, center, embeddings)
        groups.append(_group(number, members, int(members[0]), names, labels, nearest, float(cosines[nearest])))
    return groups


def _from_center(rows: IntArray, center: Float32Array, embeddings: Float32Array) -> IntArray:
    """Return the images of a group, the most central one first; equal ones in their order."""
    return np.asarray(rows[np.argsort(-(embeddings[rows] @ center), kind="stable")])


def _group(
    number: int,
    members: IntArray,
    seed: int,
    names: Sequence[str],
    labels: Sequence[str],
    nearest: int,
    similarity: float,
) -> ProposedGroup:
    in_order = [names[row] for row in members.tolist()]
    spread = np.unique(np.linspace(0, len(in_order) - 1, min(_SHOWN, len(in_order))).round().astype(np.int64))
    return ProposedGroup(
        number + 1,
        names[seed] if seed in members else in_order[0],
        in_order,
        [in_order[place] for place in spread.tolist()],
        labels[nearest] if nearest >= 0 else None,
        min(max(similarity, -1.0), 1.0) if nearest >= 0 else None,
    )
