"""Groups of similar examples are found by path and by comparison, and none are found where there are none."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import mannwhitneyu, wasserstein_distance

from lmm_classifier.calibration.grouping import SHIFT_ALARM, _sample, group_ids, match_query_distance, shift_z_score
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


def test_a_folder_is_the_whole_path_and_a_match_belongs_to_its_label():
    """Folders of one name below different ones are two groups, and so is one match below two labels."""
    paths = ["a/x/photos/1.jpg", "a/y/photos/1.jpg", "b/x/photos/1.jpg", "top.jpg"]
    assert group_ids(paths, "folder").tolist() == [0, 1, 2, 3]
    assert group_ids(paths, "photos").tolist() == [0, 0, 1, 2]
    assert group_ids(["a/12-3.jpg", "a/12-4.jpg", "a/13-3.jpg"], r"(\d+)-(\d)").tolist() == [0, 0, 1]


def test_an_invalid_pattern_is_an_error():
    """The message quotes it and says what was expected."""
    with pytest.raises(CalibrationError, match=r"The groups '\(' are not valid.*'folder', 'column' or a regular"):
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


def drawn(seed, count=60):
    """A gallery of three labels with groups of all sizes, and new images."""
    gallery, new, _ = draw_objects(np.random.default_rng(seed), 3, count=count // 9 + 1, noise=0.4)
    return gallery, new, np.random.default_rng(seed).integers(0, 15, len(gallery.label_ids))


def nearest_of_others(gallery, groups):
    """Return the similarity of each example to its nearest of another group, one by one."""
    cosines = gallery.embeddings @ gallery.embeddings.T
    return [row[groups != groups[number]].max(initial=-1) for number, row in enumerate(cosines)]


@pytest.mark.parametrize(("seed", "count"), [(0, 60), (1, 60), (2, 1500), (3, 1900)])
def test_the_z_score_is_that_of_scipy(seed, count):
    """Mann and Whitney's rank sum: how much nearer examples of other groups are than new images."""
    gallery, new, groups = drawn(seed, count)
    of_new = (new @ gallery.embeddings.T).max(axis=1)
    of_examples = nearest_of_others(gallery, groups)
    m, n = len(of_examples), len(of_new)
    expected = (mannwhitneyu(of_examples, of_new).statistic - m * n / 2) / np.sqrt(m * n * (m + n + 1) / 12)
    assert shift_z_score(gallery, groups, new) == pytest.approx(expected, rel=1e-4)


def test_an_example_without_another_group_is_as_far_as_can_be():
    """All of one group: the similarity is -1, so that nothing seems optimistic."""
    gallery, new, groups = drawn(0)
    assert shift_z_score(gallery, groups * 0, new) < -SHIFT_ALARM == -3


@pytest.mark.parametrize("seed", range(20))
def test_clusters_are_those_of_average_linkage_whose_distances_match_best(seed):
    """Scipy's average linkage within each label; of all cuts the one with the least Wasserstein distance."""
    gallery, new, _ = draw_objects(np.random.default_rng(seed), 3, count=10, noise=0.1)
    trees = [linkage(gallery.embeddings[rows].astype(float), "average", "cosine") for rows in gallery.rows_of_label]
    target = (new @ gallery.embeddings.T).max(axis=1)
    cuts = np.unique(
        np.quantile(np.concatenate([tree[:, 2] for tree in trees]), np.linspace(0, 1, 41), method="higher")
    )
    found = match_query_distance(gallery, new)
    least = wasserstein_distance(nearest_of_others(gallery, found), target)
    distances, clusters = [], []
    for cut in [-1, *cuts]:
        groups = np.empty(len(found), int)
        for label, (rows, tree) in enumerate(zip(gallery.rows_of_label, trees)):
            groups[rows] = 1000 * label + fcluster(tree, cut + 1e-6, "distance")
        distances.append(wasserstein_distance(nearest_of_others(gallery, groups), target))
        clusters.append(groups[:, None] == groups)
    assert least == pytest.approx(min(distances), abs=1e-6)
    assert any(np.array_equal(found[:, None] == found, together) for together in clusters)
    assert 1 < len(np.unique(found)) < len(found)


def test_a_distribution_is_matched_and_not_its_median():
    """Objects of one image and of seven, equally many: the single ones stay alone."""
    rng = np.random.default_rng(0)
    gallery, new, truth = draw_objects(rng, 7, count=30)
    counts = np.bincount(truth, minlength=90)
    keep = np.flatnonzero((truth % 2 == 0) | (np.arange(len(truth)) % 7 == 0))
    uneven = Gallery(gallery.embeddings[keep], gallery.label_ids[keep], 3)
    found, objects = match_query_distance(uneven, new), truth[keep]
    assert counts.max() == 7
    together, same = found[:, None] == found, objects[:, None] == objects
    assert together[same].mean() > 0.9
    assert (together & ~same).sum() < 0.1 * same.sum()


def test_two_examples_of_a_label_are_joined_where_new_images_are_far():
    """Not with those of another label; where new images are copies of the examples, nothing is joined."""
    embeddings = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 0.6, 0.8], [0, 0, 1]], np.float32)
    gallery = Gallery(embeddings, np.array([0, 0, 1, 1]), 2)
    assert match_query_distance(gallery, -embeddings).tolist() == [0, 0, 2, 2]
    assert match_query_distance(gallery, embeddings[:1] * 1.01).tolist() == [0, 1, 2, 3]


def test_a_large_label_is_clustered_in_parts(monkeypatch):
    """Nearly every object stays whole, and progress is reported for each part."""
    monkeypatch.setattr("lmm_classifier.calibration.grouping._LARGEST_PART", 50)
    gallery, new, truth = draw_objects(np.random.default_rng(3), 5)
    steps = []
    found = match_query_distance(gallery, new, steps.append)
    same = truth[:, None] == truth
    assert (found[:, None] == found)[same].mean() > 0.8
    assert [step.done for step in steps] == sorted({step.done for step in steps})
    assert len(steps) >= 12
    assert steps[-1].done == steps[-1].total == len(truth)


def test_copies_beyond_the_size_of_a_part_are_no_endless_loop(monkeypatch):
    """Images that are all the same have no direction in which they vary."""
    monkeypatch.setattr("lmm_classifier.calibration.grouping._LARGEST_PART", 3)
    gallery = Gallery(np.tile(np.eye(2, dtype=np.float32)[:1], (10, 1)), np.zeros(10, np.int64), 1)
    assert match_query_distance(gallery, np.eye(2, dtype=np.float32)[1:]).shape == (10,)


def test_labels_of_one_example_are_their_own_clusters():
    """There is nothing to join."""
    gallery = Gallery(np.eye(3, dtype=np.float32), np.arange(3), 3)
    assert match_query_distance(gallery, np.eye(3, dtype=np.float32)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("count", "size"), [(3, 3), (2000, 2000), (2001, 2000), (9000, 2000)])
def test_a_sample_has_distinct_rows_in_order(count, size):
    """All of them up to 2,000."""
    rows = _sample(count)
    assert len(rows) == size
    assert (np.diff(rows) > 0).all()
    assert rows[-1] < count
