"""An encoder from a function of your own: a model of sentence-transformers or timm, a web service, anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.core.text import first_line
from lmm_classifier.embeddings.base import CosineEncoder

_MIN_IMAGES = 8  # in one call of `encode`


class FunctionEncoder(CosineEncoder):
    """Adapts a function from images to vectors, so that it works wherever an encoder does.

    The function always gets `batch_size` images, the last one repeated where there are too few. So a vector does not
    depend on the images that are encoded with it. Vectors are normalized, and compared by their cosine. Calls take
    turns.

    Args:
        fn: takes a list of upright RGB images of PIL, or with `preprocess` an array (b, ...) of its results. Returns
            vectors (b, dim): an array, a tensor of torch, or a list of lists.
        name: names the model and its version. Vectors of another name are refused, so change it with the vectors.
        dim: numbers in a vector.
        preprocess: reduces an image to an array, always of the same shape. Several threads call it at once.
        batch_size: images in one call of `fn`. Larger batches are faster on a GPU.
        image_size: the side in pixels that an image is reduced to; larger images may be decoded at a reduced scale.

    Raises:
        EncoderError: when encoding: the function fails, or its result is not `batch_size` finite vectors of `dim`.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier import FunctionEncoder
        >>> from lmm_classifier.data.synthetic import draw
        >>> from lmm_classifier.testing import check_encoder
        >>> def colors(images):
        ...     return [np.histogram(np.asarray(image), bins=16)[0] for image in images]
        >>> encoder = FunctionEncoder(colors, "colors@1", 16)
        >>> check_encoder(encoder)
        >>> image = draw("tartan", np.random.default_rng(0), 64)
        >>> encoder.encode([encoder.preprocess(image)]).shape
        (1, 16)
    """

    def __init__(
        self,
        fn: Callable[[Any], Any],
        name: str,
        dim: int,
        preprocess: Callable[[Image.Image], NDArray[Any]] | None = None,
        batch_size: int = 1,
        image_size: int = 384,
    ) -> None:
        if not callable(fn) or not (preprocess is None or callable(preprocess)):
            raise EncoderError("FunctionEncoder needs a function as fn, and None or a function as preprocess")
        if not isinstance(name, str) or not name or not all(map(_is_count, (dim, batch_size, image_size))):
            raise EncoderError(
                "FunctionEncoder needs a name, and as dim, batch_size and image_size integers of at least 1, but got "
                f"{name!r}, {dim!r}, {batch_size!r} and {image_size!r}"
            )
        self._fn, self._preprocess, self._batch = fn, preprocess, batch_size
        self._turn = ForkSafeLock()
        self.image_size = image_size
        self.batch_size: int = batch_size * -(-_MIN_IMAGES // batch_size)
        steps = "of the function" if preprocess is None else "of the function, before it"
        self.fingerprint: Fingerprint = Fingerprint("function", name, "", steps, int(dim), "float32")

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Return what `preprocess` makes of an upright RGB image, without one its pixels (height, width, 3)."""
        if self._preprocess is None:
            return np.asarray(image)
        try:
            return np.asarray(self._preprocess(image))
        except Exception as error:
            raise EncoderError(f"the preprocessing of {self.fingerprint.model} failed: {_reason(error)}") from error

    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        """Return normalized embeddings (n, dim); raises EncoderError where the function gives no such vectors."""
        rows = [np.empty((0, self.fingerprint.dim), np.float32)]
        with self._turn:
            for start in range(0, len(preprocessed), self._batch):
                part = [np.asarray(image) for image in preprocessed[start : start + self._batch]]
                rows.append(self._vectors(self._given(part))[: len(part)])
        return self._normalized(np.concatenate(rows))

    def _given(self, part: list[NDArray[Any]]) -> Any:
        padded = [*part, *[part[-1]] * (self._batch - len(part))]
        if self._preprocess is None:
            return [Image.fromarray(pixels) for pixels in padded]
        if len({pixels.shape for pixels in padded}) > 1:
            raise EncoderError(f"the preprocessing of {self.fingerprint.model} gives arrays of several shapes")
        return np.stack(padded)

    def _vectors(self, given: Any) -> Float32Array:
        """Call the function; raises EncoderError if it fails or returns another shape."""
        expected = (self._batch, self.fingerprint.dim)
        try:
            found = self._fn(given)
            if hasattr(found, "detach"):  # a tensor of torch, of any device and number type
                found = found.detach().float().cpu().numpy()
            vectors = np.asarray(found, np.float32)
        except Exception as error:
            raise EncoderError(f"{self.fingerprint.model} failed: {_reason(error)}") from error
        if vectors.shape != expected:
            raise EncoderError(
                f"{self.fingerprint.model} returned an array of shape {vectors.shape}, expected {expected}"
            )
        return vectors


def _is_count(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool) and int(number) >= 1


def _reason(error: Exception) -> str:
    """Return the class of an error, and the first line of its message."""
    return f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__
