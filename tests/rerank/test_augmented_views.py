"""The second look by views: it looks at five real views, and keeps to the candidates."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, Question
from lmm_classifier.rerank.augmented_views import ViewsReranker, five_views
from lmm_classifier.rerank.fusion import Fusion


def picture(width=100, height=60):
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 2, y * 4, x + y], axis=-1).astype(np.uint8))


def test_the_five_views():
    """Mirror, centre, pad and two turns: each as described, none the same."""
    image = picture()
    mirror, centre, pad, left, right = five_views(image)
    np.testing.assert_array_equal(np.asarray(mirror), np.asarray(image)[:, ::-1])
    np.testing.assert_array_equal(np.asarray(centre), np.asarray(image)[6:54, 10:90])
    assert pad.size == (120, 72)
    np.testing.assert_array_equal(np.asarray(pad)[6:66, 10:110], np.asarray(image))
    np.testing.assert_array_equal(np.asarray(pad)[0, 0], np.asarray(image)[0, 0])
    assert left.size == right.size == (84, 50)
    assert np.abs(np.asarray(left, float) - np.asarray(right, float)).mean() > 1
    # a turn leaves no black corners
    assert (np.asarray(left).sum(axis=-1) > 0).mean() > 0.97


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2)])
def test_views_of_tiny_pictures(size):
    """No picture is too small or too narrow for a view."""
    for view in five_views(Image.new("RGB", size, (9, 9, 9))):
        assert view.width >= 1
        assert view.height >= 1


def question(*shares):
    return Question(picture(), tuple(Candidate(label, share, ()) for label, share in zip("abc", shares)), "h", "h")


def test_scores_are_the_first_look_plus_twice_the_views():
    """The formula of the second look, checked by hand."""
    seen = []

    def score_labels(images, leave_out, labels):
        seen.append((len(images), set(leave_out), labels[0]))
        return [np.array([0.1, 0.2]) for _ in images]

    (answer,) = ViewsReranker(score_labels, temperature=0.1).rerank([question(0.6, 0.4)])
    assert seen == [(5, {"h"}, ["a", "b"])]
    views = np.exp(np.array([0.1, 0.2]) / 0.1)
    np.testing.assert_allclose(answer.scores, views / views.sum())
    # fused with the first look as long as nothing is measured: its score plus twice that of the views
    combined = (0.1 * np.log([0.6, 0.4]) + 2 * np.array([0.1, 0.2])) / 3
    expected = np.exp(combined / 0.1) / np.exp(combined / 0.1).sum()
    np.testing.assert_allclose(Fusion(*ViewsReranker.trust)(np.array([0.6, 0.4]), answer), expected)
    assert answer.failure == ""
    assert answer.disagreement == pytest.approx(0)


def test_views_without_evidence_do_not_break_it():
    """A label that no view supports falls behind; if nothing is supported the first look stands."""

    def score_labels(images, leave_out, labels):
        return [np.array([-np.inf, 0.5]) for _ in images]

    (answer,) = ViewsReranker(score_labels, 0.05).rerank([question(0.55, 0.45)])
    assert answer.scores[1] > answer.scores[0] > 0
    reranker = ViewsReranker(lambda images, leave_out, labels: [np.full(2, -np.inf) for _ in images], 0.05)
    (answer,) = reranker.rerank([question(0.55, 0.45)])
    assert answer.scores == pytest.approx((0.5, 0.5))
    fused = Fusion(*ViewsReranker.trust)(np.array([0.55, 0.45]), answer)
    assert fused[0] > fused[1]
    assert sum(answer.scores) == pytest.approx(1)
    assert reranker.rerank([]) == []
