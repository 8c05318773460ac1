"""An encoder of images as a transformer of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.concurrency import threaded_map
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.optional_imports import require_optional
from lmm_classifier.core.protocols import Encoder, Preprocessed, TransformFitter
from lmm_classifier.data.image_inputs import ImageInput, check_inputs, read_input
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.opening import open_encoders

require_optional("sklearn", "sklearn")  # before it is imported, so that the error names the extra
if TYPE_CHECKING:  # scikit-learn has no types, and every checker guesses others

    class BaseEstimator:
        """What estimators are to a type checker."""

        def __sklearn_tags__(self) -> Any: ...
        def __getstate__(self) -> dict[str, Any]: ...

    class TransformerMixin:
        """The same of this kind."""
else:
    from sklearn.base import BaseEstimator, TransformerMixin


class ImageEncoder(TransformerMixin, BaseEstimator):
    """Turns images into vectors: paths, bytes, arrays or Pillow images, as `HybridClassifier.classify` takes them.

    There is nothing to fit. The encoder is opened when the first image comes, and copies open their own. A search over
    parameters encodes all images again for each of them, unless the pipeline has a `memory`. Or encode once, and search
    on the vectors.

    Args:
        backend: as `encoder.backend`, such as `lite`, `transformers` or `descriptor`.
        model: as `encoder.model`; None: the default of the backend.
        config: names the encoder and the limits of images instead; `backend` and `model` are then not used.

    Example:
        >>> from pathlib import Path
        >>> from sklearn.pipeline import make_pipeline
        >>> from lmm_classifier.integrations.sklearn import ImageEncoder, TrainFreeClassifier
        >>> paths = sorted(Path("images").glob("*/*.png"))
        >>> encoder = ImageEncoder("descriptor")
        >>> classifier = make_pipeline(encoder, TrainFreeClassifier(transform_fitter=encoder.transform_fitter))
        >>> classifier = classifier.fit(paths, [path.parent.name for path in paths])
        >>> classifier.predict(paths[:1]).tolist()
        ['gingham']
    """

    def __init__(self, backend: str = "lite", model: str | None = None, config: PipelineConfig | None = None) -> None:
        self.backend = backend
        self.model = model
        self.config = config

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: N803, ARG002 - the names of scikit-learn
        """Do nothing, and return self."""
        return self

    def transform(self, X: Any) -> Float32Array:  # noqa: N803
        """Return normalized vectors (n, dim) of n images.

        Raises:
            ImageInputError: X is not several images.
            ImageError: an image cannot be read or decoded; the message names it.
            EncoderError: the encoder has no vector for an image, or cannot be opened.
        """
        images, encoder, config = check_inputs(X), self._encoder(), self._config()
        limits = config.images.limits
        min_side = encoder.image_size if config.images.fast_jpeg else None

        def prepared(image: ImageInput) -> Preprocessed:
            return encoder.preprocess(read_input(image, limits, min_side).image)

        vectors = [np.empty((0, encoder.fingerprint.dim), np.float32)]
        inputs = threaded_map(prepared, images, config.images.readers)
        while batch := list(islice(inputs, config.batch_size)):
            vectors.append(encoder.encode(batch))
        return np.concatenate(vectors)

    @property
    def transform_fitter(self) -> TransformFitter:
        """Return what fits the transform in which the vectors are compared, for `TrainFreeClassifier`."""
        return self._encoder().transform_fitter

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:  # noqa: ARG002
        """Return a name for each number of a vector, (dim,)."""
        dim = self._encoder().fingerprint.dim
        return np.array([f"imageencoder{number}" for number in range(dim)], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_opened"}

    def _config(self) -> PipelineConfig:
        if self.config is not None:
            return self.config
        given: dict[str, Any] = {"backend": self.backend} | ({} if self.model is None else {"model": self.model})
        return PipelineConfig(encoder=given)

    def _encoder(self) -> Encoder:
        """Return the encoder of the current parameters; it is opened where they changed."""
        sections: Sequence[EncoderConfig] = [section.model_copy(deep=True) for section in self._config().encoders]
        opened: tuple[Sequence[EncoderConfig], Encoder] | None = self.__dict__.get("_opened")
        if opened is None or opened[0] != sections:
            if len(sections) != 1:
                raise ConfigError(f"config has {len(sections)} encoders. Expected one; join several with FeatureUnion.")
            (encoder,) = open_encoders(sections)
            opened = self._opened = (sections, encoder)
        return opened[1]
