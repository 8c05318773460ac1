"""Groups of similar examples are found by path and by comparison, and none are found where there are none."""

import numpy as np
import pytest

from lmm_classifier.calibration.grouping import SHIFT_ALARM, group_ids, match_query_distance, shift_z_score
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.testing import clustered_embeddings

PATHS = ["a/box1/1.jpg", "a/box1/2.jpg", "a/box2/1.jpg", "b/box1/1.jpg"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("folder", [0, 0, 1, 2]), (r"(box\d)/", [0, 0, 1, 2]), (r"/1\.jpg", [0, 1, 0, 2]), ("nowhere", [0, 1, 2, 3])],
)
def test_groups_by_path(pattern, expected):
    """By folder, by the first bracket, by the whole match within a label; a path without a match is alone."""
    np.testing.assert_array_equal(group_ids(PATHS, pattern), expected)


def test_an_invalid_pattern_is_an_error():
    """The message quotes it and says what was expected."""
    with pytest.raises(CalibrationError, match=r"The groups '\(' are not valid.*'folder' or a regular expression"):
        group_ids(PATHS, "(")


def draw_objects(rng, images, count=40, noise=0.05):
    """Three labels, `count` objects each, several images of each object; new images show new objects."""
    labels = ["a"] * count + ["b"] * count + ["c"] * count
    both = clustered_embeddings(rng, labels * 2, 16, spread=1.2)
    old, new = both[: 3 * count], both[3 * count :]
    seen = np.repeat(old, images, axis=0)
    if images > 1:
        seen = seen + noise * rng.normal(size=seen.shape)
    seen = (seen / np.linalg.norm(seen, axis=1, keepdims=True)).astype(np.float32)
    gallery = Gallery(seen, np.repeat(np.repeat([0, 1, 2], count), images), 3)
    return gallery, new, np.repeat(np.arange(3 * count), images)


def test_several_images_of_one_object_are_noticed_and_grouped():
    """Five images per object: the z-score is above the alarm, and the clusters are nearly the objects."""
    gallery, new, truth = draw_objects(np.random.default_rng(0), 5)
    assert shift_z_score(gallery, np.arange(len(truth)), new) > SHIFT_ALARM
    assert abs(shift_z_score(gallery, truth, new)) < SHIFT_ALARM
    clusters = match_query_distance(gallery, new)
    assert shift_z_score(gallery, clusters, new) < SHIFT_ALARM
    together = clusters[:, None] == clusters
    same = truth[:, None] == truth
    assert together[same].mean() > 0.9


def test_independent_images_raise_no_alarm():
    """One image per object: no alarm in twenty draws."""
    for seed in range(20):
        gallery, new, truth = draw_objects(np.random.default_rng(seed), 1)
        assert shift_z_score(gallery, np.arange(len(truth)), new) < SHIFT_ALARM
