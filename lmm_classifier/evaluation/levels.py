"""Results at each level of a hierarchy: a right coarse answer counts at its level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import BoolArray, IntArray
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.label_hierarchy import LabelHierarchy, Steps
from lmm_classifier.evaluation.fractions import fraction, groups_of

Answer = tuple[Classification, str | None]  # a result with the true label of its image


def is_right(result: Classification, truth: str | None, hierarchy: LabelHierarchy) -> bool:
    """Return whether the answer is the true label, or a coarse label above it."""
    if result.is_rolled_up:
        return result.label in hierarchy.above.get(truth or "", ())
    return result.label == truth


def level_figures(
    known: Sequence[Answer],
    unknowns: Sequence[Answer],
    hierarchy: LabelHierarchy,
    groups: IntArray | None = None,
    unknown_groups: IntArray | None = None,
) -> dict[str, Any]:
    """Return what each level answers and how often that is right, as plain values; fractions are 0 to 1.

    Level 0 are labels that are sure enough at once. Labels that compete are counted apart.

    Args:
        known: results on images whose label is in the index.
        unknowns: results on other images. Their label may stand below a coarse label that the index knows.
        hierarchy: of the labels.
        groups: the number of the group of each known image, (n,): intervals are by groups. None: each is alone.
        unknown_groups: the same of the other images, (m,).
    """
    right = np.array([is_right(*answer, hierarchy) for answer in known], bool)
    level_of = np.array([_level(result) for result, _ in known], np.int64)
    levels = sorted({0, *range(1, hierarchy.height + 1), *level_of[level_of >= 0].tolist()})
    rows = [{"level": level, **_row(level_of == level, right, groups)} for level in levels]
    is_below = np.array([bool(hierarchy.above.get(truth or "")) for _, truth in unknowns], bool)
    below = [answer for answer, flag in zip(unknowns, is_below) if flag]
    coarse = np.array([result.is_rolled_up for result, _ in below], bool)
    right_below = np.array([is_right(*answer, hierarchy) for answer in below], bool)
    groups_below = groups_of(unknown_groups, is_below)
    return {
        "levels": rows,
        "some_level": _row(level_of >= 0, right, groups),
        "labels_compete": _row(level_of == _COMPETE, right, groups),
        "unknown_below_known": {"images": len(below), **_row(coarse, right_below, groups_below)} if below else None,
    }


def with_labels(hierarchy: LabelHierarchy, places: Mapping[str, Steps]) -> LabelHierarchy:
    """Return a hierarchy with labels that it does not have, where they stand below one of its coarse labels."""
    coarse = hierarchy.coarse_labels
    taken = {*hierarchy.above, *coarse}
    found = {
        label: hierarchy.path(steps[-1])
        for label, steps in places.items()
        if label not in taken and steps and steps[-1] in coarse
    }
    return LabelHierarchy({**hierarchy.above, **found})


_COMPETE, _UNKNOWN = -1, -2


def _level(result: Classification) -> int:
    """Return the level that answered, negative where none is sure enough."""
    if result.is_unknown:
        return _UNKNOWN
    return result.level or 0 if result.decision.reason in ("confident", "rolled_up") else _COMPETE


def _row(flags: BoolArray, right: BoolArray, groups: IntArray | None) -> dict[str, Any]:
    return {"answered": fraction(flags, groups), "correct": fraction(right[flags], groups_of(groups, flags))}
