"""Shots of one object are found, by rule and by comparison, and nothing is found where nothing is."""

import numpy as np
import pytest

from lmm_classifier.calibration.grouping import ALARM, clusters_like, groups_by, rosiness
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.testing import clustered_rows

PATHS = ["a/box1/1.jpg", "a/box1/2.jpg", "a/box2/1.jpg", "b/box1/1.jpg"]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("folder", [0, 0, 1, 2]), (r"(box\d)/", [0, 0, 1, 2]), (r"/1\.jpg", [0, 1, 0, 2]), ("nowhere", [0, 1, 2, 3])],
)
def test_groups_by(rule, expected):
    """By folder, by bracket, by whole match within a label; what does not match stays alone."""
    np.testing.assert_array_equal(groups_by(PATHS, rule), expected)


def test_a_broken_rule_is_told():
    """A slip in the expression is one clear line."""
    with pytest.raises(CalibrationError, match="neither 'folder' nor a regular expression"):
        groups_by(PATHS, "(")


def objects(rng, shots, count=40, noise=0.05):
    """Three labels, `count` objects each, several shots of each object; new pictures show new objects."""
    labels = ["a"] * count + ["b"] * count + ["c"] * count
    both = clustered_rows(rng, labels * 2, 16, spread=1.2)
    old, new = both[: 3 * count], both[3 * count :]
    seen = np.repeat(old, shots, axis=0)
    if shots > 1:
        seen = seen + noise * rng.normal(size=seen.shape)
    seen = (seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32)
    gallery = Gallery(seen, np.repeat(np.repeat([0, 1, 2], count), shots), 3)
    return gallery, new, np.repeat(np.arange(3 * count), shots)


def test_repeated_shots_raise_the_alarm_and_are_found():
    """Five shots per object: the alarm rings, and the clusters are the objects, nearly."""
    gallery, new, truth = objects(np.random.default_rng(0), 5)
    singly = np.arange(len(truth))
    assert rosiness(gallery, singly, new) > ALARM
    assert abs(rosiness(gallery, truth, new)) < ALARM
    clusters = clusters_like(gallery, new)
    assert rosiness(gallery, clusters, new) < ALARM
    together = clusters[:, None] == clusters
    same = truth[:, None] == truth
    assert together[same].mean() > 0.9


def test_independent_pictures_do_not():
    """One picture per object: no alarm in twenty draws."""
    for seed in range(20):
        gallery, new, truth = objects(np.random.default_rng(seed), 1)
        assert rosiness(gallery, np.arange(len(truth)), new) < ALARM
