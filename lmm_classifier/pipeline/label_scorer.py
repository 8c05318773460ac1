"""Retrieval's own scores of given labels on given pictures: what a second look without a model is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier.core.protocols import Encoder, FloatArray
from lmm_classifier.pipeline.retriever import Retriever


class LabelScores:
    """Encodes pictures and lets the rule vote, in batches."""

    def __init__(self, encoder: Encoder, retriever: Retriever, batch_size: int) -> None:
        self._encoder, self._retriever, self._step = encoder, retriever, batch_size

    def __call__(
        self,
        images: Sequence[Image.Image],
        leave_out: Sequence[str | None],
        labels: Sequence[Sequence[str]],
    ) -> list[NDArray[np.float64]]:
        """Return the scores of the labels asked for, one array per picture; examples of a hash are left out."""
        position = {label: number for number, label in enumerate(self._retriever.index.label_names)}
        result: list[NDArray[np.float64]] = []
        for start in range(0, len(images), self._step):
            part = slice(start, start + self._step)
            vectors = self._encoder.encode_images(images[part])  # (n, dim)
            scores = self._votes(vectors, leave_out[part])  # (n, C)
            result += [row[[position[label] for label in wanted]] for row, wanted in zip(scores, labels[part])]
        return result

    def _votes(self, vectors: FloatArray, leave_out: Sequence[str | None]) -> NDArray[np.float64]:
        step = self._retriever.queries_at_once
        parts = [slice(start, start + step) for start in range(0, len(vectors), step)]
        return np.concatenate([self._retriever.votes(vectors[part], leave_out[part]).scores for part in parts])
