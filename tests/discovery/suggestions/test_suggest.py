"""Suggestions are the order of a review, with reasons and priorities."""

import json

import numpy as np
import pytest

from lmm_classifier.discovery.suggestions.options import SuggestionOptions
from lmm_classifier.discovery.suggestions.suggest import suggest
from lmm_classifier.discovery.unlabeled import UnlabeledImages
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.reviewer import Reviewer
from tests.discovery.vector_images import LABELS, classifier_of, clusters, images_of
from tests.helpers.datasets import offline_config


def test_new_labels_come_first():
    """With the weight of new images, each new label is met once before one is met twice."""
    with classifier_of() as classifier:
        images, labels = images_of(classifier, {"a": 10, "b": 10, "d": 9, "e": 8})
        found = suggest(images, classifier, SuggestionOptions(count=2, by="new")).suggestions
    assert {labels[int(each.path)] for each in found} == {"d", "e"}
    assert [each.reason for each in found] == ["new", "new"]
    assert found[0].gain >= found[1].gain > 0


@pytest.mark.long
def test_the_order_of_the_images_changes_nothing():
    """Nor do copies of an image come twice before others."""
    vectors, _ = clusters({"a": 6, "d": 6}, seed=3)
    vectors = np.concatenate([vectors, vectors[:3]])
    names = [f"{row:02}" for row in range(len(vectors))]
    shuffled = np.random.default_rng(0).permutation(len(vectors))
    with classifier_of() as classifier:
        first, second = (
            suggest(UnlabeledImages.of_vectors([names[row] for row in rows], vectors[rows], classifier), classifier)
            for rows in (np.arange(len(vectors)), shuffled)
        )
    assert [each.path for each in first.suggestions] == [each.path for each in second.suggestions]
    order = [each.path for each in first.suggestions]
    assert len(set(order)) == len(vectors)
    for original, copy in (("00", "12"), ("01", "13"), ("02", "14")):
        later = max(order.index(original), order.index(copy))
        assert first.suggestions[later].gain <= 1e-4


def test_values():
    """Batches, priorities from 1 down, and plain values; without a calibration nobody advises to stop."""
    with classifier_of() as classifier:
        images, _ = images_of(classifier, dict.fromkeys(LABELS, 4))
        found = suggest(images, classifier, SuggestionOptions(count=5, batch=2))
        assert suggest(images_of(classifier, {})[0], classifier).suggestions == []
    assert [each.rank for each in found.suggestions] == [1, 2, 3, 4, 5]
    assert [each.batch for each in found.suggestions] == [1, 1, 2, 2, 3]
    assert list(found.priorities().values()) == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert found.stopping is None
    values = json.loads(json.dumps(found.to_dict()))
    assert values["images"] == 12
    assert len(values["suggestions"]) == 5


@pytest.mark.long
def test_the_first_group_of_a_review_is_that_of_the_first_suggestion(drawn, tmp_path):
    """Both pick among the images that do not decide themselves."""
    from lmm_classifier.index.build.builder import build_index_from_directory

    config = offline_config(tmp_path / "index", rerank__enabled=False, retrieval__confidence_threshold=1.0)
    build_index_from_directory(drawn.root / "dataset", tmp_path / "index", config=config)
    calibrate_index(tmp_path / "index", config)
    with HybridClassifier(config) as classifier, Reviewer(classifier) as reviewer:
        found = suggest(drawn.new, classifier)
        run = reviewer.classify_folder(drawn.new)
        assert run.open == found.images
        group = reviewer.page(run.id).groups[0]
        paths = [item.result["path"] for item in reviewer.items(group.items)]
    assert paths[0] == found.suggestions[0].path
    assert found.stopping is not None
    assert found.stopping.undecided == found.images
