"""Test-time augmentation: five views as described, and scores for the candidates only."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank.augmented_views import AugmentedViewsReranker, five_views
from lmm_classifier.rerank.fusion import Fusion


def gradient(width=100, height=60):
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 2, y * 4, x + y], axis=-1).astype(np.uint8))


def test_the_five_views():
    """Mirror, center, pad and two rotations: each as described, all different."""
    image = gradient()
    mirror, center, pad, left, right = five_views(image)
    np.testing.assert_array_equal(np.asarray(mirror), np.asarray(image)[:, ::-1])
    np.testing.assert_array_equal(np.asarray(center), np.asarray(image)[6:54, 10:90])
    assert pad.size == (120, 72)
    np.testing.assert_array_equal(np.asarray(pad)[6:66, 10:110], np.asarray(image))
    np.testing.assert_array_equal(np.asarray(pad)[0, 0], np.asarray(image)[0, 0])
    assert left.size == right.size == (84, 50)
    assert np.abs(np.asarray(left, float) - np.asarray(right, float)).mean() > 1
    # a rotation leaves no black corners
    assert (np.asarray(left).sum(axis=-1) > 0).mean() > 0.97


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2)])
def test_views_of_tiny_images(size):
    """No image is too small or too narrow for a view."""
    for view in five_views(Image.new("RGB", size, (9, 9, 9))):
        assert view.width >= 1
        assert view.height >= 1


def request(*probabilities):
    candidates = tuple(Candidate(label, probability, ()) for label, probability in zip("abc", probabilities))
    return RerankRequest(gradient(), candidates, "h", "h")


def test_scores_are_retrieval_plus_twice_the_views():
    """The formula, computed by hand."""
    calls = []

    def score_labels(images, leave_out, labels):
        calls.append((len(images), set(leave_out), labels[0]))
        return [np.log([0.3, 0.7]) for _ in images]

    (answer,) = AugmentedViewsReranker(score_labels).rerank([request(0.6, 0.4)])
    assert calls == [(5, {"h"}, ["a", "b"])]
    np.testing.assert_allclose(answer.scores, [0.3, 0.7])
    # until it is measured, fusion adds the log-probability of retrieval and twice that of the views
    combined = np.exp((np.log([0.6, 0.4]) + 2 * np.log([0.3, 0.7])) / 3)
    expected = combined / combined.sum()
    np.testing.assert_allclose(Fusion(*AugmentedViewsReranker.trust)(np.array([0.6, 0.4]), answer), expected)
    assert answer.failure == ""
    assert answer.disagreement == pytest.approx(0)


def test_labels_without_evidence_in_the_views():
    """A label that no view supports ranks last; without any support the order of retrieval stays."""

    def score_labels(images, leave_out, labels):
        return [np.array([-np.inf, 0.5]) for _ in images]

    (answer,) = AugmentedViewsReranker(score_labels).rerank([request(0.55, 0.45)])
    assert answer.scores[1] > answer.scores[0] > 0
    reranker = AugmentedViewsReranker(lambda images, leave_out, labels: [np.full(2, -np.inf) for _ in images])
    (answer,) = reranker.rerank([request(0.55, 0.45)])
    assert answer.scores == pytest.approx((0.5, 0.5))
    fused = Fusion(*AugmentedViewsReranker.trust)(np.array([0.55, 0.45]), answer)
    assert fused[0] > fused[1]
    assert sum(answer.scores) == pytest.approx(1)
    assert reranker.rerank([]) == []
