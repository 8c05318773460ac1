"""Retrieval's scores of given labels for given images, for the reranker by augmented views."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever


class LabelScorer:
    """Encodes images and scores labels for them, in batches."""

    def __init__(self, encoders: Sequence[Encoder], retriever: Retriever, batch_size: int) -> None:
        self._encoders, self._retriever, self._batch_size = encoders, retriever, batch_size

    def __call__(
        self,
        images: Sequence[Image.Image],
        leave_out: Sequence[str | None],
        labels: Sequence[Sequence[str]],
    ) -> list[Float64Array]:
        """Return the log-probabilities of the labels asked for, one array per image.

        Examples with the content hash in `leave_out`, one per image, do not count.
        """
        position = {label: number for number, label in enumerate(self._retriever.index.label_names)}
        result: list[Float64Array] = []
        for start in range(0, len(images), self._batch_size):
            batch = slice(start, start + self._batch_size)
            vectors = QueryVectors.of_images(self._encoders, images[batch], self._retriever.first_encoders)
            for part, scored in self._retriever.score_in_batches(vectors, leave_out[batch]):
                wanted = labels[batch][part]
                result += [
                    row[[position[name] for name in names]] for row, names in zip(scored.log_probabilities, wanted)
                ]
        return result
