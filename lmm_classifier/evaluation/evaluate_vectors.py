"""Evaluate a classifier on labeled vectors, without those that its index holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from lmm_classifier.calibration.grouping import number_groups
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.labels import alike_warnings, require_label
from lmm_classifier.core.vectors import vector_hashes, vectors_of_each
from lmm_classifier.data.places import NOWHERE
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.evaluation.results import Evaluation
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.near_copies import is_in_index


def evaluate_vectors(
    vectors: Any,
    labels: Sequence[str],
    classifier: HybridClassifier,
    ids: Sequence[str] | None = None,
    *,
    groups: Sequence[str] | None = None,
) -> Evaluation:
    """Classify vectors and compare the results with their labels.

    Vectors that the index holds are counted, and no figure stands on them. Near copies cannot be told without images:
    leave out vectors of images that the index has in another size or format.

    Args:
        vectors: (n, dim), as `HybridClassifier.classify_vectors` takes them.
        labels: n labels. One that is not a label of the index, such as `unknown`, counts as unknown.
        classifier: the classifier to evaluate.
        ids: n names that stand for the images in the results; None: numbers.
        groups: n names of groups, such as objects: vectors of one group are no independent trials, so every interval is
            by groups. An empty one is a group of its own. None: each vector is independent.

    Raises:
        DatasetError: there is no vector or another number of labels, ids or groups, or the index holds all of them.
        VectorError: the vectors are no such rows of finite numbers, or a row is zero.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier import HybridClassifier, Index, PipelineConfig, evaluate_vectors
        >>> rng, labels = np.random.default_rng(0), ["cat"] * 20 + ["dog"] * 20
        >>> vectors, new = np.repeat(np.eye(2, 8) * 9, 20, axis=0) + rng.normal(size=(2, 40, 8))
        >>> index = Index.from_vectors(vectors, labels)
        >>> with HybridClassifier(PipelineConfig.preset("vectors"), index=index) as classifier:
        ...     evaluation = evaluate_vectors(new, labels, classifier)
        >>> len(evaluation.known), bool(evaluation.correct.mean() > 0.9)
        (40, True)
    """
    dims = [encoder.fingerprint.dim for encoder in classifier.encoders]
    each = vectors_of_each(vectors, dims)
    count = len(each[0])
    names = [str(row) for row in range(count)] if ids is None else list(map(str, ids))
    if not count or isinstance(labels, str) or not count == len(labels) == len(names):
        raise DatasetError(f"Got {count} vectors, {len(labels)} labels and {len(names)} ids. Expected one for each.")
    if groups is not None and len(groups) != count:
        raise DatasetError(f"Got {count} vectors and {len(groups)} groups. Expected one for each.")
    truths = [require_label(label) for label in labels]
    results = classifier.classify_vectors(each if len(each) > 1 else each[0])
    entries = [
        LabeledResult(_no_file(name), replace(result, path=name), truth)
        for name, result, truth in zip(names, results, truths)
    ]
    identical = is_in_index(classifier.index, list(vector_hashes(each[0])))
    if identical.all():
        raise DatasetError(f"The index holds all {count} vectors, so there is nothing to evaluate on. Give others.")
    evaluation = Evaluation.of(
        [entry for entry, copy in zip(entries, identical) if not copy],
        set(classifier.index.label_names),
        [entry for entry, copy in zip(entries, identical) if copy],
        groups=None if groups is None else number_groups(groups)[~identical],
        hierarchy=classifier.hierarchy if classifier.roll_up else None,
    )
    threshold = classifier.thresholds.familiarity_threshold
    return replace(evaluation, warnings=tuple(alike_warnings(truths)), familiarity_threshold=threshold)


def _no_file(name: str) -> Path:
    """Return a path that shows a name and that no file can have, even where the name is one of a file."""
    return NOWHERE.joinpath(*(part for part in PurePosixPath(name).parts if part not in ("/", "..")))
