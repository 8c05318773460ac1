"""What a calibration stores of a hierarchy: the hierarchy itself, held-out results, a threshold for each level."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.hierarchy.coarse_results import CoarseResults
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.core.arrays import Arrays
from lmm_classifier.core.label_hierarchy import LabelHierarchy


@dataclass(frozen=True)
class HierarchyFit:
    """A hierarchy over the labels of an index, with what held-out examples say of its L levels."""

    hierarchy: LabelHierarchy  # of exactly the labels of the index, with a height of at least 1
    results: CoarseResults
    thresholds: Mapping[int, float] = field(default_factory=dict)  # by depth; none where nothing is guaranteed

    @classmethod
    def of(
        cls, hierarchy: LabelHierarchy | None, predictions: HeldOutPredictions, labels: Sequence[str]
    ) -> Self | None:
        """Fit a hierarchy to predictions for held-out examples of these labels; None where nothing is coarser."""
        own = hierarchy.of_labels(labels) if hierarchy is not None else None
        if own is None or not own.height:
            return None
        return cls(own, CoarseResults.of(predictions, own.levels(labels)))

    @property
    def height(self) -> int:
        """Return the number of levels."""
        return self.hierarchy.height

    @property
    def depths(self) -> range:
        """Return the depths of the levels, the finest first."""
        return range(self.hierarchy.height, 0, -1)

    def level_of_each(self, confidence_level: float) -> float:
        """Return the confidence level of each guarantee, so that those of labels and levels hold with the given one."""
        return 1 - (1 - confidence_level) / (1 + len(self.depths))

    def matches(self, hierarchy: LabelHierarchy) -> bool:
        """Return whether the labels that it was fitted to stand below the same coarse labels as in another one."""
        other = hierarchy.above
        return all(other[label] == steps for label, steps in self.hierarchy.above.items() if label in other)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the same with new names of labels, by their former ones."""
        return replace(self, hierarchy=self.hierarchy.renamed(names)) if names else self

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that rebuild it."""
        above = {label: list(steps) for label, steps in self.hierarchy.above.items()}
        return {
            "above": np.array([json.dumps(above)]),
            "thresholds": np.array([json.dumps(sorted(self.thresholds.items()))]),
            **self.results.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, count: int) -> Self:
        """Rebuild it for `count` held-out examples; raise KeyError, TypeError or ValueError where it is damaged."""
        above = json.loads(str(arrays["above"].item()))
        if not isinstance(above, dict):
            raise ValueError("a hierarchy that is no mapping")
        hierarchy = LabelHierarchy({label: tuple(steps) for label, steps in above.items()})
        results = CoarseResults.from_arrays(arrays, hierarchy.height, count)
        pairs = json.loads(str(arrays["thresholds"].item()))
        thresholds = {int(depth): float(threshold) for depth, threshold in pairs}
        if any(not 0 <= value <= 1 or not 1 <= depth <= hierarchy.height for depth, value in thresholds.items()):
            raise ValueError(f"impossible thresholds of coarse labels: {pairs}")
        return cls(hierarchy, results, thresholds)


def is_of_hierarchy(fit: HierarchyFit | None, hierarchy: LabelHierarchy | None, labels: Sequence[str]) -> bool:
    """Return whether what is stored is of this hierarchy over these labels, or of none where nothing is coarser."""
    own = hierarchy.of_labels(labels) if hierarchy is not None else None
    if own is None or not own.height:
        return fit is None
    return fit is not None and fit.hierarchy == own
