"""An encoder of images as a transformer of scikit-learn."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.optional_imports import require_optional
from lmm_classifier.core.progress import ProgressOption
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.core.protocols import Encoder, TransformFitter
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.opening import open_encoders
from lmm_classifier.integrations.sklearn.image_column import image_column
from lmm_classifier.integrations.sklearn.image_vectors import image_vectors

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

logger: logging.Logger = logging.getLogger(__name__)

OnError = Literal["raise", "nan"]


class ImageEncoder(TransformerMixin, BaseEstimator):
    """Turns images into vectors: paths, bytes, arrays or Pillow images, as `HybridClassifier.classify` takes them.

    There is nothing to fit. The encoder is opened when the first image comes, and copies open their own. With `memory`,
    a pipeline encodes training folds once, but each candidate of a search encodes its test folds again. For a search,
    encode first, and search on the vectors. The cache knows paths, not contents: delete it when files change.

    Args:
        backend: as `encoder.backend`, such as `lite`, `transformers` or `descriptor`. Vectors of the descriptor need
            its `transform_fitter` in `TrainFreeClassifier`.
        model: as `encoder.model`; None: the default of the backend.
        config: names the encoder and the limits of images instead; `backend` and `model` are then not used.
        progress: True shows it; a function is called with each `Progress`, and may raise `Cancelled` to stop.
        on_error: `raise` names all images that have no vector, after all were read; `nan` gives each a row of NaN.

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

    def __init__(
        self,
        backend: str = "lite",
        model: str | None = None,
        config: PipelineConfig | None = None,
        progress: ProgressOption | None = None,
        on_error: OnError = "raise",
    ) -> None:
        self.backend = backend
        self.model = model
        self.config = config
        self.progress = progress
        self.on_error = on_error

    def fit(self, X: Any = None, y: Any = None) -> Self:  # noqa: N803, ARG002 - the names of scikit-learn
        """Do nothing, and return self."""
        return self

    def transform(self, X: Any) -> Float32Array:  # noqa: N803
        """Return normalized vectors (n, dim) of n images.

        X is a list, an array of paths, or a table of one column, which may hold all that an image can be.

        Raises:
            ConfigError: a parameter has a wrong value.
            ImageInputError: X is not several images.
            ImageError: images cannot be read or decoded; the message names them.
            EncoderError: the encoder has no vector for an image, or cannot be opened.
        """
        if self.on_error not in get_args(OnError):
            raise ConfigError(f"on_error is {self.on_error!r}. Expected 'raise' or 'nan'.")
        images = image_column(X)
        with displayed(self.progress) as progress:
            return image_vectors(images, self._encoder(), self._config(), self.on_error == "nan", progress)

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
                raise ConfigError(
                    f"config has {len(sections)} encoders. Expected one. For several, give a VotingClassifier one "
                    "pipeline for each."
                )
            if sections[0].backend == "descriptor":
                _advise()
            (encoder,) = open_encoders(sections, advise=False)
            opened = self._opened = (sections, encoder)
        return opened[1]


@cache
def _advise() -> None:
    """Say once in a process what the descriptor is, since each copy opens its own."""
    logger.warning(
        "ImageEncoder('descriptor') needs no download, but ImageEncoder('lite') is far more accurate. Give the "
        "descriptor's transform_fitter to TrainFreeClassifier, which is less accurate without it."
    )
