"""What is drawn of the predictions of any estimator: the best class of each row, and its probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray
from lmm_classifier.core.errors import ConfigError, DatasetError

_ROUNDING = 1e-6  # by which a probability may leave 0 to 1


@dataclass(frozen=True)
class Predicted:
    """The best of C classes for each of n rows; rows whose true class is none of them are unknown."""

    classes: tuple[Any, ...]
    truth: IntArray  # (n,) place of the true class; -1: unknown
    best: IntArray  # (n,) place of the best class
    probability: Float64Array  # (n,) of the best class, 0 to 1

    @classmethod
    def of(cls, y: Any, probabilities: Any, classes: Any) -> Predicted:
        """Check the true classes (n,), the probabilities (n, C) and the classes (C,).

        Raises:
            ConfigError: a shape does not fit, a class comes twice, or a number is no probability.
            DatasetError: there is no row, or the true class of every row is unknown.
        """
        names, truths = _values(classes), _values(y)
        numbers = np.asarray(probabilities)
        if numbers.shape != (len(truths), len(names)):
            raise ConfigError(
                f"probabilities has the shape {numbers.shape}. Expected ({len(truths)}, {len(names)}): a row for each "
                "value of y, and a column for each class."
            )
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"Got {len(names)} classes, of which {len(set(names))} differ. Expected one or more, each once, in the "
                "order of the columns of probabilities."
            )
        if not len(truths):
            raise DatasetError("There is no row, so there is nothing to draw.")
        is_number = numbers.dtype.kind in "fiub"
        if not (is_number and ((numbers >= -_ROUNDING) & (numbers <= 1 + _ROUNDING)).all()):
            raise ConfigError("Expected probabilities from 0 to 1, such as predict_proba gives.")
        place = {name: number for number, name in enumerate(names)}
        truth = np.array([place.get(value, -1) for value in truths], np.int64)
        if (truth < 0).all():
            raise DatasetError(
                f"No value of y is one of the classes, such as {names[0]!r}: y has values such as {truths[0]!r}. "
                "Give both as the estimator has them."
            )
        best = numbers.argmax(axis=1)
        probability = np.clip(numbers[np.arange(len(best)), best].astype(np.float64), 0, 1)
        return cls(tuple(names), truth, best, probability)

    def known(self) -> tuple[Float64Array, BoolArray]:
        """Return the confidence (m,) and the correctness (m,) of the rows of known classes."""
        is_known = self.truth >= 0
        return self.probability[is_known], (self.best == self.truth)[is_known]


def probabilities_of(estimator: Any, X: Any) -> tuple[Any, Any]:  # noqa: N803 - the name of scikit-learn
    """Return the probabilities (n, C) that a fitted classifier gives, and its classes (C,).

    Raises:
        ConfigError: it gives none, or is not fitted.
    """
    return (result_of(estimator, "predict_proba")(X), result_of(estimator, "classes_"))


def result_of(estimator: Any, name: str) -> Any:
    """Return an attribute of an estimator; raise ConfigError where it has none."""
    if not hasattr(estimator, name):
        raise ConfigError(
            f"Expected a fitted classifier with `{name}`, got {type(estimator).__name__}, which has none."
        )
    return getattr(estimator, name)


def is_class(y: Any, classes: Any) -> BoolArray:
    """Return whether each of n values is one of the classes, (n,)."""
    names = set(_values(classes))
    return np.array([value in names for value in _values(y)], bool)


def _values(values: Any) -> Sequence[Any]:
    """Return the values of a list, an array or a column; raise ConfigError where they are not one-dimensional."""
    array: NDArray[Any] = np.asarray(values)
    if array.ndim != 1:
        raise ConfigError(f"Expected one value for each row, got an array of shape {array.shape}.")
    listed: list[Any] = array.tolist()
    return listed
