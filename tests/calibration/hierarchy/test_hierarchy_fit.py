"""What a calibration stores of a hierarchy is read back, checked, and compared with the one in use."""

import numpy as np
import pytest

from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from tests.calibration.hierarchy.test_coarse_results import HIERARCHY, LABELS, predictions


@pytest.fixture
def fit():
    given = predictions([[0.1, 0.4, 0.1, 0.4], [0.1, 0.4, 0.1, 0.4]], [3, 2])
    return HierarchyFit.of(HIERARCHY, given, LABELS)


def test_it_is_read_back(fit):
    """With its thresholds; damaged arrays are refused."""
    from dataclasses import replace

    stored = replace(fit, thresholds={1: 0.75}).to_arrays()
    again = HierarchyFit.from_arrays(stored, 2)
    assert (again.hierarchy, again.thresholds) == (fit.hierarchy, {1: 0.75})
    assert np.array_equal(again.results.confidence, fit.results.confidence)
    for damaged in (
        {"thresholds": np.array(["[[2, 0.5]]"])},
        {"thresholds": np.array(["[[1, 1.5]]"])},
        {"thresholds": np.array(["{"])},
        {"above": np.array(["[]"])},
        {"above": np.array(['{"a": ["b"], "b": []}'])},
    ):
        with pytest.raises((ValueError, TypeError)):
            HierarchyFit.from_arrays({**stored, **damaged}, 2)
    with pytest.raises(ValueError, match="coarse"):
        HierarchyFit.from_arrays(stored, 3)


def test_without_a_coarse_label_there_is_nothing_to_fit():
    """No hierarchy, one of other labels, and one of labels at the root."""
    given = predictions([[0.1, 0.4, 0.1, 0.4]], [3])
    for hierarchy in (None, LabelHierarchy({"lamp": ("light",)}), LabelHierarchy({"hat": ()})):
        assert HierarchyFit.of(hierarchy, given, LABELS) is None


def test_it_matches_a_hierarchy_in_which_no_label_was_moved(fit):
    """Labels that came or went do not matter; one that was renamed stays where it was."""
    above = dict(HIERARCHY.above)
    assert fit.matches(HIERARCHY)
    assert fit.matches(LabelHierarchy({**above, "lamp": ("light",)}))
    assert fit.matches(LabelHierarchy({label: above[label] for label in ("shirt", "hat")}))
    assert not fit.matches(LabelHierarchy({**above, "skirt": ("tops",)}))
    assert not fit.matches(LabelHierarchy({**above, "tee": ()}))
    renamed = fit.renamed({"tee": "t-shirt"})
    assert renamed.hierarchy.above["t-shirt"] == ("tops",)
    assert fit.renamed({}) is fit


def test_the_confidence_level_is_shared():
    """Two levels at 0.9 hold with 0.95 each."""
    given = predictions([[0.1, 0.4, 0.1, 0.4]], [3])
    assert HierarchyFit.of(HIERARCHY, given, LABELS).level_of_each(0.9) == pytest.approx(0.95)
