"""The classifier as an estimator of scikit-learn, on rows of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from lmm_classifier.calibration.conformal import conformal_threshold
from lmm_classifier.calibration.fit import fit_by_groups, fit_by_leave_one_out
from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.core.errors import ConfigError, DatasetError
from lmm_classifier.core.labels import require_label
from lmm_classifier.core.optional_imports import require_optional
from lmm_classifier.core.protocols import TransformFitter
from lmm_classifier.index.build.new_labels import check_new
from lmm_classifier.index.given_vectors import contents_of_vectors
from lmm_classifier.index.vector_index import Index
from lmm_classifier.integrations.sklearn.spaces import CosineSpace, EuclideanSpace, Space
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retrieval_scores import RetrievalScores
from lmm_classifier.pipeline.retrieval.retriever import Retriever

require_optional("sklearn", "sklearn")  # before it is imported, so that the error names the extra
if TYPE_CHECKING:  # scikit-learn has no types, and every checker guesses others

    class BaseEstimator:
        """What estimators are to a type checker."""

    class ClassifierMixin:
        """The same of this kind."""
else:
    from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data  # noqa: E402


class TrainFreeClassifier(ClassifierMixin, BaseEstimator):
    """Classifies rows by their nearest examples, as `HybridClassifier` does with images.

    It is made for embeddings. The probabilities are calibrated by leave-one-out when it is fitted, so that
    `CalibratedClassifierCV` is not needed. Copies of one row are the same content: none votes for another in the fit.

    Args:
        rule: how neighbors vote: `auto`, `knn`, `tip`, `top_k_mean`, `prototype`, `top_k_mean_prototype` or `gda`; see
            `RetrievalConfig.rule`.
        k: neighbors that vote under the rule `knn`, and under no other.
        temperature: sharpness of the vote; None: fitted by leave-one-out. `auto` always fits its own.
        within_class_metric: vote in the within-class metric, whatever the rule.
        metric: `cosine`, for embeddings; or `euclidean`, for tables, whose columns should be scaled first.
        transform_fitter: fits the transform in which rows are compared, such as `ImageEncoder(...).transform_fitter`;
            None: none. It needs the metric `cosine`.
        keep_known: fraction (0 to 1) of new rows of known classes whose familiarity reaches `familiarity_threshold_`.

    Attributes:
        classes_: the classes (C,), sorted.
        familiarity_threshold_: below it, `score_samples` says that a row is of no known class.
        index_: the examples with the calibration. With the metric `cosine`, `index_.save(path)` writes them for the
            program; Euclidean rows have one number more.
        retriever_: what votes.
        n_features_in_: numbers in a row.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.model_selection import train_test_split
        >>> from lmm_classifier.integrations.sklearn import TrainFreeClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> train, test, y_train, y_test = train_test_split(X[:600], y[:600], random_state=0)
        >>> classifier = TrainFreeClassifier().fit(train, y_train)
        >>> bool(classifier.score(test, y_test) > 0.9), classifier.predict_proba(test).shape
        (True, (150, 10))
    """

    def __init__(
        self,
        rule: str = "auto",
        k: int = 20,
        temperature: float | None = None,
        within_class_metric: bool = False,
        metric: str = "cosine",
        transform_fitter: TransformFitter | None = None,
        keep_known: float = 0.95,
    ) -> None:
        self.rule = rule
        self.k = k
        self.temperature = temperature
        self.within_class_metric = within_class_metric
        self.metric = metric
        self.transform_fitter = transform_fitter
        self.keep_known = keep_known

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:  # noqa: N803 - the names of scikit-learn
        """Store the examples and calibrate on them.

        Args:
            X: rows (n, d).
            y: their classes (n,).
            groups: what of the rows belongs together (n,), such as one object or one patient: whole groups are held out
                when it is calibrated.

        Raises:
            ConfigError: a parameter has a wrong value.
            ValueError: X, y or groups are not as described.
        """
        config = self._config()
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2)  # noqa: N806
        check_classification_targets(y)
        classes, numbers = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        self.classes_: NDArray[Any] = classes
        if len(self.classes_) < 2:
            raise ValueError("The classifier needs examples of two classes, but y holds only one class.")
        self._space: Space = EuclideanSpace.of(X) if self.metric == "euclidean" else CosineSpace()
        names = label_names(self.classes_)
        rows, labels = self._space.rows(X), [names[number] for number in numbers]
        contents, transform = contents_of_vectors(rows, labels, None, f"rows, {self.metric}", self.transform_fitter)
        index = Index(contents, transform, transform.transform(rows))
        if groups is None:
            calibration = fit_by_leave_one_out(config, [index])[0]
        else:
            calibration = fit_by_groups(config, [index], _group_numbers(groups, len(X)))[0]
        contents = replace(contents, calibration=calibration.to_arrays(contents))
        self.index_: Index = Index(contents, index.transform, index.gallery.embeddings)
        self.retriever_: Retriever = Retriever.open(config, [self.index_])
        self.familiarity_threshold_: float = self.retriever_.calibration.familiarity_threshold(self.keep_known)
        place = {name: number for number, name in enumerate(self.index_.label_names)}
        self._columns: IntArray = np.array([place[require_label(name)] for name in names])
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the most probable class of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: Any) -> Float64Array:  # noqa: N803
        """Return the probability of each class, (n, C), in the order of `classes_`."""
        return np.concatenate([scores.probabilities[:, self._columns] for _, scores in self._scores(X)])

    def predict_set(self, X: Any, alpha: float = 0.1) -> BoolArray:  # noqa: N803
        """Return which classes are in the prediction set of each row, (n, C); the most probable one always is.

        The set holds the true class with a probability of 1 - alpha, for new rows that are exchangeable with the
        examples. Its threshold comes from held-out examples (conformal prediction).
        """
        if not 0 < alpha < 1:
            raise ValueError(f"alpha is {alpha}. Expected more than 0 and less than 1.")
        probabilities = self.predict_proba(X)
        is_in = probabilities >= conformal_threshold(self.retriever_.calibration.conformity_scores, alpha)
        is_in[np.arange(len(is_in)), probabilities.argmax(axis=1)] = True
        return np.asarray(is_in)

    def score_samples(self, X: Any) -> Float64Array:  # noqa: N803
        """Return the familiarity of each row, (n,), in robust standard deviations; higher is more like the examples."""
        return np.concatenate([scores.familiarity for _, scores in self._scores(X)])

    def kneighbors(
        self, X: Any = None, n_neighbors: int = 5, return_distance: bool = True  # noqa: N803
    ) -> tuple[Float64Array, IntArray] | IntArray:  # fmt: skip
        """Return the distances (n, k) of the nearest examples of each row, ascending, and their places in the fitted X.

        Without X the rows are the examples, and none is its own neighbor. A distance is 1 - cosine, or Euclidean where
        the metric is. The examples are those that the program would name as evidence; of examples at nearly the same
        Euclidean distance, the last ones may be others.
        """
        check_is_fitted(self)
        index, stored = self.index_, self.index_.vectors()
        rows = stored if X is None else self._rows(X)
        most = len(index) - (X is None)
        if not 1 <= n_neighbors <= most:
            raise ValueError(f"n_neighbors is {n_neighbors}. Expected 1 to {most}, the number of examples.")
        found = list[IntArray]()
        for start in range(0, len(rows), step := index.gallery.queries_at_once):
            queries = index.queries(rows[start : start + step])
            own = [np.array([row]) for row in range(start, start + len(queries))] if X is None else []
            found.append(index.gallery.compare(queries, own).nearest_each(n_neighbors)[0])
        nearest = np.concatenate(found)
        distances = self._space.distances(rows, stored[nearest])
        order = np.argsort(distances, axis=1, kind="stable")
        places = np.take_along_axis(nearest, order, axis=1)
        return (np.take_along_axis(distances, order, axis=1), places) if return_distance else places

    def _config(self) -> RetrievalConfig:
        """Return the settings of retrieval; raise ConfigError for a wrong parameter."""
        if self.metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric is {self.metric!r}. Expected 'cosine' or 'euclidean'.")
        if self.metric == "euclidean" and self.transform_fitter is not None:
            raise ValueError("A transform_fitter needs the metric 'cosine'.")
        names = ("rule", "k", "temperature", "within_class_metric", "keep_known")
        given = {name: getattr(self, name) for name in names}
        values = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
        try:
            return RetrievalConfig.model_validate(values)
        except ValidationError as error:
            faults = [(fault["loc"][0], fault["msg"]) for fault in error.errors(include_url=False)]
        listed = "; ".join(
            f"{name}={given[str(name)]!r}: {text.replace('Input should be', 'expected')}" for name, text in faults
        )
        raise ConfigError(f"TrainFreeClassifier: {listed}")

    def _rows(self, X: Any) -> Float32Array:  # noqa: N803
        check_is_fitted(self)
        return self._space.rows(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def _scores(self, X: Any) -> list[tuple[slice, RetrievalScores]]:  # noqa: N803
        vectors = QueryVectors.given(self._rows(X))  # first: it says that the classifier is not fitted
        return list(self.retriever_.score_in_batches(vectors))


def label_names(classes: Sequence[Any] | NDArray[Any]) -> list[str]:
    """Return a label for each class: its text, or a number where the texts of the classes cannot be labels."""
    names = [str(name) for name in classes]
    try:
        normal = {require_label(name) for name in names}
        check_new(normal, ())
        if len(normal) == len(names):
            return names
    except DatasetError:
        pass
    return [f"class {number:05}" for number in range(len(names))]


def _group_numbers(groups: Any, count: int) -> IntArray:
    values = column_or_1d(groups)
    numbers = np.unique(values, return_inverse=True)[1]
    if len(values) != count or numbers.max() < 1:
        raise ValueError(f"Expected {count} groups, one for each row and two different ones, got {len(values)}.")
    return np.asarray(numbers, np.int64)
