"""The guard refuses by name, before anything costly is fitted."""

import numpy as np
import pytest

from lmm_classifier.calibration.unlabeled.guard import LEAST_ACCURACY, MOST_PER_LABEL, Guard
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.testing import clustered_embeddings


def index(labels, spread=0.6, dim=16):
    return Index.from_vectors(clustered_embeddings(np.random.default_rng(0), labels, dim, spread), labels)


def guard(labels, images=10, spread=0.6, **settings):
    return Guard.of(RetrievalConfig(**settings), index(labels, spread), images)


def test_few_examples_that_are_told_apart_pass():
    """The accuracy without the images is told."""
    passed = guard(["a", "b", "c"] * 6)
    assert passed.refusal == ""
    assert passed.examples_per_label == 6
    assert LEAST_ACCURACY <= passed.accuracy <= 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"labels": ["a", "b"] * MOST_PER_LABEL}, "30 examples per label"),
        ({"labels": ["a", "b", "c", "d"] * 5, "spread": 50}, "expected at least 50%"),
        ({"labels": ["a", "b"] * 5, "images": 0}, "no unlabeled image"),
        ({"labels": ["a"] * 8}, "1 labels"),
        ({"labels": ["a", "b", "c"]}, "3 examples"),
        ({"labels": ["a", "b"] * 5, "rule": "knn"}, "rule knn does not use the metric"),
    ],
)
def test_it_says_why_not(arguments, reason):
    """A well-filled dataset, one that is mostly wrong, no image, too few labels, another rule."""
    assert reason in guard(**arguments).refusal


def test_one_example_less_than_too_many_passes():
    """The limit belongs to the refusal."""
    labels = ["a", "b"] * MOST_PER_LABEL
    assert guard(labels[:-1]).refusal == ""
