"""Evaluate a classifier on a labeled folder, without the images that its index holds or holds near copies of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lmm_classifier.calibration.grouping import group_ids
from lmm_classifier.core.arrays import BoolArray, IntArray
from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.core.labels import alike_warnings
from lmm_classifier.core.progress import Progress, ProgressCallback, ProgressOption
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.data.dataset import Dataset, Files
from lmm_classifier.data.image_folder import near_label_notes
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import has_levels_of_folders, open_dataset
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.evaluation.levels import with_labels
from lmm_classifier.evaluation.results import Evaluation
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.named_groups import BY_COLUMN
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.near_copies import is_in_index, is_near_copy, is_near_copy_of_neighbor


def evaluate_folder(
    folder: DatasetSpec | Path | str,
    classifier: HybridClassifier,
    leave_out_identical: bool = False,
    progress: ProgressOption | None = None,
    *,
    group_by: str | None = None,
) -> Evaluation:
    """Classify the images `folder/<label>/**` and compare the results with their labels.

    Images that the index holds, and near copies of them, are counted and no figure stands on them: saved again,
    resized, cropped a little, or mirrored.

    Args:
        folder: a folder per label, or any other dataset, as for a build. Images of a label that the index does not
            have, such as `unknown`, count as unknown images.
        classifier: the classifier to evaluate.
        leave_out_identical: ignore examples with the same content as the image. Use it to evaluate on images that are
            in the index (leave-one-out); they count then.
        progress: True shows it; a function is called after each image, and may raise `Cancelled` to stop.
        group_by: which images are of one object, and so no independent trials: `folder` (those of one folder),
            `column` (`group_from` of the `DatasetSpec`), or a regular expression on the path within the dataset, as in
            `CalibrationRequest`. Every interval is then by groups. None: each image is independent.

    Raises:
        CalibrationError: if `group_by` is no regular expression.
        DatasetError: if the dataset names no groups but `group_by` asks for them, it holds no labeled image, or
            only copies of images that the index holds.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, evaluate_folder
        >>> classifier = HybridClassifier(PipelineConfig.offline())
        >>> evaluation = evaluate_folder("test_images", classifier)
        >>> len(evaluation.known) > 0, len(evaluation.unreadable)
        (True, 0)
    """
    spec = DatasetSpec.of(folder)
    dataset = open_dataset(spec, classifier.config.images)
    examples, groups = dataset.examples, _groups(dataset, spec, group_by)
    paths = Files(dataset.root, examples)
    results, unreadable = [], 0
    with displayed(progress) as show:
        for number, result in enumerate(classifier.classify_paths(paths, leave_out_identical)):
            results.append(LabeledResult(paths[number], result, examples[number].label))
            unreadable += result.decision.reason == "unreadable"
            if show is not None:
                show(Progress("evaluating", number + 1, len(paths), unreadable))
        index = classifier.index
        identical = is_in_index(index, [entry.result.content_hash for entry in results]) & (not leave_out_identical)
        near = _near_copies(classifier, index, results, ~identical, show)
    if results and (identical | near).all():
        raise DatasetError(
            f"{spec.source}: the index holds all {len(results)} images ({identical.sum()}) or near copies of them "
            f"({near.sum()}), so there is nothing to evaluate on. Give images that the index does not hold, or leave "
            "identical examples out."
        )
    labels = set(index.label_names)
    alike = alike_warnings(example.label for example in examples)
    left = ~(identical | near)
    evaluation = Evaluation.of(
        [entry for entry, is_left in zip(results, left) if is_left],
        labels,
        [entry for entry, copy in zip(results, identical) if copy],
        [entry for entry, copy in zip(results, near) if copy],
        None if groups is None else groups[left],
        _hierarchy(classifier, spec, examples),
    )
    warnings = (*alike, *near_label_notes(spec.source, examples, labels), *_repeated(spec.source, evaluation))
    threshold = classifier.thresholds.familiarity_threshold
    return replace(evaluation, skipped=dataset.skipped, warnings=warnings, familiarity_threshold=threshold)


def _groups(dataset: Dataset, spec: DatasetSpec, group_by: str | None) -> IntArray | None:
    """Return the number of the group of each example, (n,); None where they are not grouped."""
    if group_by is None:
        return None
    paths, named = [example.path for example in dataset.examples], None
    if group_by == BY_COLUMN:
        if not dataset.groups:
            raise DatasetError(
                f"The dataset {spec} names no groups. Say in which column or level they are (group_from)."
            )
        named = dict(zip(paths, dataset.groups))
    return group_ids(paths, group_by, named)


def _hierarchy(classifier: HybridClassifier, spec: DatasetSpec, examples: Sequence[Example]) -> LabelHierarchy | None:
    """Return the hierarchy in use, with the places of other labels that folders with `label_from: path` show."""
    if classifier.roll_up is None or classifier.hierarchy is None:
        return None
    if spec.label_from != "path" or not has_levels_of_folders(spec):
        return classifier.hierarchy
    places = {example.label: tuple(example.path.split("/")[:-2]) for example in examples}
    return with_labels(classifier.hierarchy, places)


def _repeated(source: str, evaluation: Evaluation) -> list[str]:
    """Say how many of the evaluated images are not the first with their content."""
    hashes = [entry.result.content_hash for entry in (*evaluation.known, *evaluation.unknowns)]
    if not (more := len(hashes) - len(set(hashes))):
        return []
    return [f"{source}: {more} images are identical to others in it and count again, so the intervals are too narrow"]


def _near_copies(
    classifier: HybridClassifier,
    index: Index,
    results: Sequence[LabeledResult],
    wanted: BoolArray,
    progress: ProgressCallback | None,
) -> BoolArray:
    """Return which of n results are of near copies of examples, (n,); only the `wanted` (n,) are tried."""
    found = np.zeros(len(results), bool)
    tried = [row for row in np.flatnonzero(wanted).tolist() if results[row].result.candidates]
    if not tried:
        return found
    files = [results[row].image for row in tried]
    if isinstance(index, StoreIndex):
        entries = enumerate(results[row].result for row in tried)
        near = {(n, one.example.path) for n, entry in entries for c in entry.candidates for one in c.neighbors}
        found[tried] = is_near_copy_of_neighbor(index.contents, files, near, classifier.config.images, progress)
        return found
    pairs = _candidates(index, [results[row] for row in tried])
    found[tried] = is_near_copy(index, files, pairs, classifier.encoders[0], classifier.config.images, progress)
    return found


def _candidates(index: Index, results: Sequence[LabeledResult]) -> IntArray:
    """Return pairs (m, 2) of a result and of a row of the index, from the neighbors that each result has."""
    row_of = {path: row for row, path in enumerate(index.contents.paths)}
    pairs = [
        (number, row_of[neighbor.example.path])
        for number, entry in enumerate(results)
        for candidate in entry.result.candidates
        for neighbor in candidate.neighbors
        if neighbor.example.path in row_of
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)
