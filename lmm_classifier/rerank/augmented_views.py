"""Test-time augmentation: reranking without a language model, by five views of the image and the same encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageOps

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.datatypes import RerankRequest, RerankResult
from lmm_classifier.core.numerics import softmax

# (images, content hashes to leave out, labels per image) -> for each image the scores of its labels, in cosine units
ScoreLabels = Callable[[Sequence[Image.Image], Sequence[str | None], Sequence[Sequence[str]]], list[Float64Array]]

_VIEWS = 5
_MAX_PIXELS = 4_000_000  # of an image before it becomes views
_WEIGHT = 2.0  # of the views' mean score relative to retrieval's score, until it is measured


def five_views(image: Image.Image) -> list[Image.Image]:
    """Return five views of an image.

    They are the mirror image, the central 80%, the image with its edges repeated outwards by 10%, and two rotations by
    10 degrees without their corners. A larger image than four million pixels is reduced first, because the five views
    are in memory together.
    """
    factor = math.ceil(math.sqrt(image.width * image.height / _MAX_PIXELS))
    image = image.reduce(factor) if factor > 1 else image
    return [
        ImageOps.mirror(image),
        _crop_center(image, 0.8),
        _pad(image, 0.1),
        _rotate(image, 10),
        _rotate(image, -10),
    ]


class AugmentedViewsReranker:
    """Scores the candidates on five views of the image; works with every encoder and voting rule."""

    references = 0
    # a weighted mean of retrieval's score and the views'
    trust: tuple[float, float] = (1 / (1 + _WEIGHT), _WEIGHT / (1 + _WEIGHT))

    def __init__(self, score_labels: ScoreLabels) -> None:
        self._score_labels = score_labels

    @property
    def identity(self) -> str:
        """Names all that an answer depends on, apart from the request and the index."""
        return "views:five"

    def rerank(self, requests: Sequence[RerankRequest]) -> list[RerankResult]:
        """Return for each request the candidates' probabilities by the mean score of the views."""
        views = [view for request in requests for view in five_views(request.image)]
        per_view = [request for request in requests for _ in range(_VIEWS)]
        labels = [[candidate.label for candidate in request.candidates] for request in per_view]
        scores = self._score_labels(views, [request.leave_out for request in per_view], labels)
        starts = range(0, len(views), _VIEWS)
        return [self._combine(np.stack(scores[start : start + _VIEWS])) for start in starts]

    def _combine(self, scores: Float64Array) -> RerankResult:
        """Combine the log-probabilities of the views, (5, k); say how far single views differ from the result."""
        # a label without evidence in a view is not excluded: it gets slightly less than the weakest that has some
        least = np.where(np.isfinite(scores), scores, np.inf).min(axis=1, keepdims=True)  # (5, 1)
        floor = np.where(np.isfinite(least), least, 0) - 2
        scores = np.maximum(scores, floor)
        probabilities = softmax(scores.mean(axis=0))  # (k,)
        of_views = softmax(scores)  # (5, k)
        disagreement = float(np.abs(of_views - probabilities).sum(axis=1).mean() / 2)
        return RerankResult(tuple(float(probability) for probability in probabilities), disagreement=disagreement)


def _crop_center(image: Image.Image, fraction: float) -> Image.Image:
    width, height = max(1, round(image.width * fraction)), max(1, round(image.height * fraction))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _pad(image: Image.Image, fraction: float) -> Image.Image:
    """Repeat the edge pixels outwards by `fraction` of the size on each side."""
    x, y = round(image.width * fraction), round(image.height * fraction)
    pixels = np.pad(np.asarray(image), ((y, y), (x, x), (0, 0)), mode="edge")
    return Image.fromarray(pixels)


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    return _crop_center(image.rotate(degrees, Image.Resampling.BILINEAR), 0.84)
