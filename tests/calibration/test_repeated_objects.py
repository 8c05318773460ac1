"""Many images of few objects are told from independent images by the distances within labels alone."""

import numpy as np
import pytest

from lmm_classifier.calibration.repeated_objects import RepeatedObjects
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


def test_the_ratios_equal_those_of_a_plain_search():
    """Brute force at small n; the sample is all there is."""
    embeddings, labels, _ = object_embeddings(np.random.default_rng(3), 2, 5, 3)
    ratios = []
    for row, label in enumerate(labels):
        others = [n for n, name in enumerate(labels) if name == label and n != row]
        distances = sorted(float(np.linalg.norm(embeddings[row] - embeddings[other])) for other in others)
        ratios.append(distances[0] / distances[4])
    assert measured(embeddings, labels).ratios[1] == pytest.approx(float(np.median(ratios)), abs=1e-5)
