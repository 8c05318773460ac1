"""A second look without weights: the picture is encoded again in five views, and their scores are added."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lmm_classifier.datatypes import Question, Reranked

# (pictures, hashes to leave out) -> one list of scores per picture, of the labels asked for, in cosine units
ScoreLabels = Callable[
    [Sequence[Image.Image], Sequence[str | None], Sequence[Sequence[str]]], list[NDArray[np.float64]]
]

_WEIGHT = 2.0  # of the views' mean score against the first look's


def five_views(image: Image.Image) -> list[Image.Image]:
    """Return the mirror image, the central 80 %, a 10 % edge pad, and two turns of 10 degrees without their corners."""
    return [ImageOps.mirror(image), _centre(image, 0.8), _pad(image, 0.1), _turn(image, 10), _turn(image, -10)]


class ViewsReranker:
    """Adds twice the mean score of five views to the first look's score; works with every encoder and voting rule."""

    def __init__(self, score_labels: ScoreLabels, temperature: float) -> None:
        self._score_labels = score_labels
        self._temperature = temperature

    def rerank(self, questions: Sequence[Question]) -> list[Reranked]:
        """Return for each question the candidates' shares after the second look."""
        views = [view for question in questions for view in five_views(question.image)]
        per_view = [question for question in questions for _ in range(5)]
        labels = [[candidate.label for candidate in question.candidates] for question in per_view]
        scores = self._score_labels(views, [question.leave_out for question in per_view], labels)
        return [
            self._combine(question, np.stack(scores[5 * number : 5 * number + 5]))
            for number, question in enumerate(questions)
        ]

    def _combine(self, question: Question, views: NDArray[np.float64]) -> Reranked:
        """Combine the first look's shares (c,) with the views' scores (5, c)."""
        shares = np.array([candidate.score for candidate in question.candidates])
        first = self._temperature * np.log(np.maximum(shares, 1e-12))  # the scores, up to a constant
        # a label without evidence in a view is not out: it stands a little behind the weakest that has some
        least = np.where(np.isfinite(views), views, np.inf).min(axis=1, keepdims=True)  # (5, 1)
        floor = np.where(np.isfinite(least), least, 0) - 2 * self._temperature
        combined = (first + _WEIGHT * np.maximum(views, floor).mean(axis=0)) / (1 + _WEIGHT)
        weights = np.exp((combined - combined.max()) / self._temperature)
        return Reranked(tuple(float(share) for share in weights / weights.sum()))


def _centre(image: Image.Image, share: float) -> Image.Image:
    width, height = max(1, round(image.width * share)), max(1, round(image.height * share))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _pad(image: Image.Image, share: float) -> Image.Image:
    """Repeat the edge pixels outwards by `share` of the size on each side."""
    x, y = round(image.width * share), round(image.height * share)
    pixels = np.pad(np.asarray(image), ((y, y), (x, x), (0, 0)), mode="edge")
    return Image.fromarray(pixels)


def _turn(image: Image.Image, degrees: float) -> Image.Image:
    return _centre(image.rotate(degrees, Image.Resampling.BILINEAR), 0.84)
