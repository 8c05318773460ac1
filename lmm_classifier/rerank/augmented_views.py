"""A second look without weights: the picture is encoded again in five views, and their scores are added."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lmm_classifier.core.datatypes import Question, Reranked

# (pictures, hashes to leave out) -> one list of scores per picture, of the labels asked for, in cosine units
ScoreLabels = Callable[
    [Sequence[Image.Image], Sequence[str | None], Sequence[Sequence[str]]], list[NDArray[np.float64]]
]

_WEIGHT = 2.0  # of the views' mean score against the first look's, until it is measured


def five_views(image: Image.Image) -> list[Image.Image]:
    """Return the mirror image, the central 80 %, a 10 % edge pad, and two turns of 10 degrees without their corners."""
    return [ImageOps.mirror(image), _centre(image, 0.8), _pad(image, 0.1), _turn(image, 10), _turn(image, -10)]


class ViewsReranker:
    """Scores the candidates on five views; works with every encoder and voting rule."""

    references = 0
    trust = (1 / (1 + _WEIGHT), _WEIGHT / (1 + _WEIGHT))  # the mean of the first look and, twice, of the views

    def __init__(self, score_labels: ScoreLabels, temperature: float) -> None:
        self._score_labels = score_labels
        self._temperature = temperature

    @property
    def identity(self) -> str:
        """What the answers depend on, apart from the question and the index."""
        return "views:five"

    def rerank(self, questions: Sequence[Question]) -> list[Reranked]:
        """Return for each question the candidates' shares by the mean score of the views."""
        views = [view for question in questions for view in five_views(question.image)]
        per_view = [question for question in questions for _ in range(5)]
        labels = [[candidate.label for candidate in question.candidates] for question in per_view]
        scores = self._score_labels(views, [question.leave_out for question in per_view], labels)
        return [self._shares(np.stack(scores[5 * number : 5 * number + 5])) for number in range(len(questions))]

    def _shares(self, views: NDArray[np.float64]) -> Reranked:
        """The shares of views' scores (5, c), and how far single views lie from them."""
        # a label without evidence in a view is not out: it stands a little behind the weakest that has some
        least = np.where(np.isfinite(views), views, np.inf).min(axis=1, keepdims=True)  # (5, 1)
        floor = np.where(np.isfinite(least), least, 0) - 2 * self._temperature
        scores = np.maximum(views, floor)
        together = _softmax(scores.mean(axis=0) / self._temperature)  # (c,)
        single = _softmax(scores / self._temperature)  # (5, c)
        disagreement = float(np.abs(single - together).sum(axis=1).mean() / 2)
        return Reranked(tuple(float(share) for share in together), disagreement=disagreement)


def _softmax(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


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
