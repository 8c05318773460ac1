"""Many images of few objects are told from independent images by the distances within labels alone."""

import numpy as np
import pytest

from lmm_classifier.calibration.repeated_objects import RepeatedObjects, _sample
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.vector_indexes import object_embeddings


def measured(embeddings, labels):
    names, label_ids = np.unique(labels, return_inverse=True)
    return RepeatedObjects.of(Gallery(embeddings, label_ids.astype(np.int64), len(names)))


@pytest.mark.parametrize("images", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_several_images_of_an_object_are_found(images, noise):
    """Whatever their number: the ratio falls at another neighbor."""
    embeddings, labels, _ = object_embeddings(np.random.default_rng(1), 3, max(60 // images, 8), images, 64, noise)
    assert measured(embeddings, labels).likely


@pytest.mark.parametrize("dim", [48, 512])
@pytest.mark.parametrize("count", [9, 30, 200])
def test_independent_images_raise_no_alarm(dim, count):
    """Their ratios are near 1 and grow slowly."""
    for seed in range(5):
        labels = ["a"] * count + ["b"] * count
        embeddings = clustered_embeddings(np.random.default_rng(seed), labels, dim, 0.6)
        assert not measured(embeddings, labels).likely


def test_nothing_is_said_about_labels_of_few_images():
    """A label needs nine images."""
    embeddings, labels, _ = object_embeddings(np.random.default_rng(2), 3, 2, 4)
    found = measured(embeddings, labels)
    assert (dict(found.ratios), found.lowest, found.likely) == ({}, 1.0, False)


def test_copies_of_one_image_are_repeated_objects():
    """Also where all distances are zero."""
    embeddings = np.tile(np.eye(4, dtype=np.float32)[:2], (12, 1))
    assert measured(embeddings, ["a", "b"] * 12).likely
    assert measured(embeddings, ["a", "b"] * 12).lowest == 0
    for seed in range(20):  # rounding makes some similarities a little more or less than 1
        rows = clustered_embeddings(np.random.default_rng(seed), ["a", "b"], 33, 1.0)
        assert measured(np.tile(rows, (12, 1)), ["a", "b"] * 12).likely


def ratio_by_hand(embeddings, labels, step):
    """The median ratio of neighbor `step` to neighbor 5 `step`, over examples that have so many others."""
    ratios = []
    for row, label in enumerate(labels):
        others = [n for n, name in enumerate(labels) if name == label and n != row]
        distances = np.sort(np.linalg.norm(embeddings[others].astype(float) - embeddings[row], axis=1))
        if len(others) >= max(8, 10 * step if step > 1 else 0):
            ratios.append(distances[step - 1] / distances[5 * step - 1])
    return float(np.median(ratios))


@pytest.mark.parametrize(
    ("sizes", "steps"),
    [
        ((9, 9), [1]),
        ((9, 8), [1]),
        ((20, 20), [1]),
        ((21, 21), [1, 2]),
        ((21, 9, 12), [1, 2]),
        ((21, 9, 13), [1]),
        ((40, 25, 60), [1, 2]),
    ],
)
def test_the_ratios_equal_those_of_a_plain_search(sizes, steps):
    """Brute force at small n; a step counts where half of the examples have ten times as many others."""
    labels = [label for label, size in zip("abc", sizes) for _ in range(size)]
    embeddings = clustered_embeddings(np.random.default_rng(3), labels, 12, 1.0)
    found = measured(embeddings, labels)
    assert list(found.ratios) == steps
    for step in steps:
        assert found.ratios[step] == pytest.approx(ratio_by_hand(embeddings, labels, step), abs=1e-5)


def test_every_step_is_measured_in_a_large_label():
    """Objects of 2 to 80 images; of a large label only the nearest 80 others count."""
    labels = ["a"] * 170
    embeddings = clustered_embeddings(np.random.default_rng(4), labels, 12, 1.0)
    found = measured(embeddings, labels)
    assert list(found.ratios) == [1, 2, 4, 8, 16]
    for step in found.ratios:
        assert found.ratios[step] == pytest.approx(ratio_by_hand(embeddings, labels, step), abs=1e-5)
    assert found.lowest == min(found.ratios.values())


def test_copies_in_a_label_take_no_part_where_all_are_one_image():
    """A label of copies has no ratio; the other label's stands."""
    labels = ["a"] * 12 + ["b"] * 12
    embeddings = clustered_embeddings(np.random.default_rng(5), labels, 12, 1.0)
    embeddings[:12] = embeddings[0]
    assert measured(embeddings, labels).ratios[1] == pytest.approx(
        ratio_by_hand(embeddings[12:], labels[12:], 1), abs=1e-5
    )


@pytest.mark.parametrize(
    ("ratios", "likely"),
    [
        ({}, False),
        ({1: 0.81}, False),
        ({1: 0.8099}, True),
        ({1: 0.9, 2: 0.75}, False),
        ({1: 0.9, 2: 0.7499}, True),
        ({1: np.exp(-0.2), 4: np.exp(-0.1001)}, False),
        ({1: np.exp(-0.2), 4: np.exp(-0.0999)}, True),
        ({1: np.exp(-0.2), 4: np.exp(-0.15), 8: np.exp(-0.0999)}, True),
        ({1: np.exp(-0.2), 2: np.exp(-0.05)}, False),  # the contrast is with those farther out
        ({1: np.exp(-0.2), 4: 1.0, 8: np.exp(-0.15)}, False),  # a ratio of 1 has no logarithm to compare with
        ({1: 0.0, 4: 0.95}, True),
    ],
)
def test_repeated_objects_are_likely_beyond_the_limits(ratios, likely):
    """A low first ratio, any lower one, or a first whose logarithm is more than twice the least farther out."""
    assert RepeatedObjects(ratios).likely == likely


def test_a_large_dataset_is_sampled(monkeypatch):
    """Fewer examples are looked at, with nearly the same result."""
    labels = ["a"] * 150 + ["b"] * 150
    embeddings = clustered_embeddings(np.random.default_rng(6), labels, 12, 1.0)
    complete = measured(embeddings, labels).ratios
    for name, value in (("_MOST_ROWS", 100), ("_MOST_PAIRS", 150 * 100)):
        with monkeypatch.context() as patch:
            patch.setattr(f"lmm_classifier.calibration.repeated_objects.{name}", value)
            sampled = measured(embeddings, labels).ratios
        assert sampled.keys() == complete.keys()
        assert sampled != complete
        assert sampled[1] == pytest.approx(complete[1], abs=0.03)


def test_a_sample_has_distinct_rows_in_order():
    """Each is one of the given rows."""
    rows = np.arange(0, 300, 3)
    assert _sample(rows, 100) is rows
    some = _sample(rows, 99)
    assert len(some) == 99
    assert (np.diff(some) > 0).all()
    assert set(some) <= set(rows)
