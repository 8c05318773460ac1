"""Reference pictures: for each label in contention the examples that a second look is shown."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lmm_classifier.core.errors import ImageError, RerankerError
from lmm_classifier.core.protocols import Comparison, IntArray
from lmm_classifier.data.images import ImageLimits, read_picture
from lmm_classifier.index.vector_index import ExactIndex

logger = logging.getLogger(__name__)

_NEAREST = 8  # examples of a label among which the typical ones are chosen
_REMEMBERED = 256  # decoded pictures kept
_SIDE = 896  # pixels of the longer side that are kept: 32 x 32 visual tokens


class References:
    """Chooses and reads `count` examples per label: near to the query, and typical of their label.

    An example's worth is its cosine to the query plus its cosine to the label's mean: a mislabelled or odd example is
    seldom the most typical even where it is near, and a wrong reference does more harm than none.
    """

    def __init__(self, index: ExactIndex, count: int, limits: ImageLimits) -> None:
        self._index, self._count, self._limits = index, count, limits
        self._read: OrderedDict[int, Image.Image | None] = OrderedDict()
        root = Path(index.manifest.image_root)
        if count and not root.is_dir():
            raise RerankerError(
                f"reference pictures are to be shown, but the corpus folder {root} is not there: put it back, "
                "build the index again from where it is now, or set rerank.mode: names"
            )

    def of(self, comparison: Comparison, query: int, labels: Sequence[str]) -> tuple[tuple[Image.Image, ...], ...]:
        """Return the pictures for each of `labels`; what was left out of `comparison` is not among them."""
        if not self._count:
            return ()
        return tuple(self._of_label(comparison, query, label) for label in labels)

    def _of_label(self, comparison: Comparison, query: int, label: str) -> tuple[Image.Image, ...]:
        number = list(self._index.label_names).index(label)
        rows, cosines = comparison.nearest(query, _NEAREST, self._index.rows_of(number))
        worth = cosines + self._typicality(number, rows)
        pictures: list[Image.Image] = []
        for row in rows[np.argsort(-worth, kind="stable")]:
            if len(pictures) < self._count and (picture := self._picture(int(row))) is not None:
                pictures.append(picture)
        return tuple(pictures)

    def _typicality(self, label: int, rows: IntArray) -> np.ndarray:
        gallery = self._index.gallery
        mean = gallery.means[label]
        return np.asarray(gallery.units[rows].astype(float) @ mean / max(float(np.linalg.norm(mean)), 1e-12))

    def _picture(self, row: int) -> Image.Image | None:
        if row not in self._read:
            path = self._index.contents.file_of(self._index.examples[row].path)
            try:
                image = read_picture(path, self._limits, _SIDE // 3).image
                image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
                self._read[row] = image
            except ImageError as error:
                logger.warning("no reference picture: %s", error)
                self._read[row] = None
            if len(self._read) > _REMEMBERED:
                self._read.popitem(last=False)
        self._read.move_to_end(row)
        return self._read[row]
