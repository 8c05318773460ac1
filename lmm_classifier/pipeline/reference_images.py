"""Reference images: for each competing label the examples that the reranker is shown."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.errors import ImageError, RerankerError, UnreadableImageError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.data.images import read_image
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.readers.opening import source_problem
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.vector_index import Index

logger: logging.Logger = logging.getLogger(__name__)

_NEAREST = 8  # examples of a label among which the typical ones are chosen
_CACHED = 256  # decoded images in memory
_SIDE = 896  # pixels of the longer side: 32 x 32 visual tokens


# label, its rows, k -> the k nearest of them to an image, their cosines, and the place of the encoder that found them
NearestOfLabel = Callable[[int, IntArray, int], tuple[IntArray, Float64Array, int]]


class ReferenceImages:
    """Chooses and reads `count` examples per label: similar to the query, and typical of their label.

    An example ranks by its cosine to the query plus its cosine to the label's mean. A mislabeled or odd example is
    seldom typical even where it is similar, and a wrong reference does more harm than none.
    """

    def __init__(self, indexes: Sequence[Index], count: int, limits: ImageLimits) -> None:
        """Take the examples, with the vectors of each encoder."""
        self._indexes, self._index, self._count, self._limits = indexes, indexes[0], count, limits
        self._cache: OrderedDict[int, Image.Image | None] = OrderedDict()
        self._lock = ForkSafeLock()  # of the cache: several threads ask
        if count and isinstance(self._index, StoreIndex):
            raise RerankerError(
                "Reference images are chosen among all examples of a label, but retrieval.search: store leaves them in "
                "the store. Set rerank.prompt.mode: names, or retrieval.search: exact."
            )
        if count and not self._index.manifest.has_images:
            raise RerankerError(
                "Reference images cannot be shown: the index was made from vectors and has no images. Set "
                "rerank.prompt.mode: names."
            )
        if count and (problem := source_problem(self._index.manifest.image_root)):
            raise RerankerError(
                f"Reference images cannot be shown: {problem}. Put it back, build the index again from where the "
                "images are now, or set rerank.prompt.mode: names."
            )

    def of(self, nearest: NearestOfLabel, labels: Sequence[str]) -> tuple[tuple[Image.Image, ...], ...]:
        """Return the images for each of `labels`; `nearest` finds examples of a label that are near the query."""
        return self.read(self.ranked(nearest, labels))

    def ranked(self, nearest: NearestOfLabel, labels: Sequence[str]) -> tuple[IntArray, ...]:
        """Return for each of `labels` the rows of the examples that may be shown, the best first, without reading."""
        return tuple(self._ranked(nearest, label) for label in labels) if self._count else ()

    def read(self, ranked: Sequence[IntArray]) -> tuple[tuple[Image.Image, ...], ...]:
        """Return the images of the first examples in each ranking that can be read."""
        return tuple(map(self._read, ranked))

    def _ranked(self, nearest: NearestOfLabel, label: str) -> IntArray:
        number = list(self._index.label_names).index(label)
        rows, cosines, encoder = nearest(number, self._index.gallery.rows_of_label[number], _NEAREST)
        rank = cosines + self._typicality(self._indexes[encoder], number, rows)
        return rows[np.argsort(-rank, kind="stable")]

    def _read(self, rows: IntArray) -> tuple[Image.Image, ...]:
        images: list[Image.Image] = []
        for row in rows:
            if len(images) < self._count and (image := self._image(int(row))) is not None:
                images.append(image)
        return tuple(images)

    def _typicality(self, index: Index, label: int, rows: IntArray) -> Float64Array:
        """Return the cosine of each row (n,) to the mean of its label."""
        gallery = index.gallery
        mean = gallery.means[label]
        return np.asarray(gallery.embeddings[rows].astype(float) @ mean / max(float(np.linalg.norm(mean)), 1e-12))

    def _image(self, row: int) -> Image.Image | None:
        """Return the image of an example, None where it cannot be read."""
        with self._lock:
            if row in self._cache:
                self._cache.move_to_end(row)
                return self._cache[row]
        path = self._index.contents.file_of(self._index.examples[row].path)
        image: Image.Image | None = None
        try:
            decoded = read_image(path, self._limits, _SIDE // 3)
            if decoded.content_hash != self._index.hashes[row]:
                raise UnreadableImageError(f"{path}: the file changed after it was indexed")
            image = decoded.image
            image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        except ImageError as error:
            logger.warning("A reference image cannot be read: %s", error)
            if not error.proven:
                return None  # another try may succeed
        with self._lock:
            self._cache[row] = image
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return image
