"""What targets would give at each level is what the guarantees answer, without the examples that are not familiar."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.guarantees.outlook import Outlook
from lmm_classifier.calibration.guarantees.risk_control import NoGuarantee
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit
from lmm_classifier.calibration.hierarchy.level_guarantees import guarantee_levels
from lmm_classifier.calibration.hierarchy.level_outlook import TargetOutlook
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from tests.helpers.vector_indexes import NESTED, write_nested

KEEP = (0.99, 0.8)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    """A calibration with a hierarchy of one level."""
    index = Index.open(write_nested(tmp_path_factory.mktemp("outlook") / "index", count=40))
    fitted, predictions = fit_by_leave_one_out(RetrievalConfig(), [index])
    return replace(fitted, hierarchy=HierarchyFit.of(LabelHierarchy(NESTED), predictions, index.label_names))


def test_levels_are_those_of_the_guarantees(calibration):
    """With all examples kept they are equal; with fewer kept, no level answers more, and all parts make one."""
    found = guarantee_levels(calibration.held_out, calibration.hierarchy, 0.9, 0.9)
    (outlooks,) = TargetOutlook.of_each(calibration, [found], KEEP)
    everything = replace(calibration, held_out=replace(calibration.held_out, familiarity=np.zeros(200)))
    ((whole,),) = TargetOutlook.of_each(everything, [found], [0.9])
    assert tuple(level.answered for level in whole.levels) == found.answered
    assert [level.right for level in whole.levels] == pytest.approx([1 - wrong for wrong in found.wrong])
    assert [level.threshold for level in whole.levels] == [found.threshold, found.thresholds[1]]
    for outlook in outlooks:
        parts = (outlook.accepted, outlook.coarse, outlook.ambiguous, outlook.of_labels.unknown)
        assert sum(parts) == pytest.approx(1)
        assert outlook.levels[0].answered == outlook.accepted
        assert all(mine.answered <= all_.answered for mine, all_ in zip(outlook.levels, whole.levels, strict=True))
    assert outlooks[1].of_labels.unknown > outlooks[0].of_labels.unknown


def test_coarse_labels_alone_may_have_a_guarantee(calibration):
    """Then no label is accepted, but the targets can be stored; without any guarantee nothing is said."""
    found = guarantee_levels(calibration.held_out, calibration.hierarchy, 0.9, 0.9)
    none = NoGuarantee(0.1, 0.05, "no threshold reaches it", 29)
    coarse_only, nothing = replace(found, labels=none), replace(found, labels=none, coarse={1: none})
    ((first,), (second,)) = TargetOutlook.of_each(calibration, [coarse_only, nothing], [0.95])
    assert (first.accepted, first.levels[0].threshold, first.levels[0].right) == (0.0, None, None)
    assert first.coarse > 0
    assert first.ambiguous == pytest.approx(1 - first.of_labels.unknown - first.coarse)
    assert (second.accepted, second.coarse, second.ambiguous) == (None, None, None)
    assert not second.is_guaranteed


def test_without_a_hierarchy_it_is_the_outlook_of_labels(calibration):
    """Bit by bit, and without levels."""
    plain = replace(calibration, hierarchy=None)
    found = guarantee_levels(plain.held_out, None, 0.9, 0.9)
    (outlooks,) = TargetOutlook.of_each(plain, [found], KEEP)
    (expected,) = Outlook.of_each(plain, [found.labels], KEEP)
    assert [outlook.of_labels for outlook in outlooks] == expected
    assert [(outlook.accepted, outlook.ambiguous, outlook.coarse, outlook.levels) for outlook in outlooks] == [
        (each.accepted, each.ambiguous, 0, []) for each in expected
    ]
