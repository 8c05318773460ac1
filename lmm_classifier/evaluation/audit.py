"""Audit a dataset: find labels that are likely wrong, duplicates, outliers, and labels that are hard to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lmm_classifier.calibration.fit import Fit, fit_by_leave_one_out
from lmm_classifier.calibration.sparse.sampling import MOST_ROWS
from lmm_classifier.calibration.sparse.store_fit import StoreFitting, fit_through_stores
from lmm_classifier.calibration.sparse.store_judging import judged_blocks
from lmm_classifier.calibration.sparse.store_statistics import sample_of_store
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import IntArray
from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import CalibrationError, ConfigError
from lmm_classifier.core.index_location import index_location
from lmm_classifier.core.metrics import wilson_interval
from lmm_classifier.core.progress import Progress, ProgressCallback, ProgressOption
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.evaluation.duplicates import find_duplicates
from lmm_classifier.evaluation.findings import THIN, Audit, ConfusablePair, LabelIssue, Outlier
from lmm_classifier.evaluation.judged import JudgedExamples
from lmm_classifier.evaluation.label_noise import expected_wrong_labels
from lmm_classifier.evaluation.stored_duplicates import find_stored_duplicates
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.dismissals import DismissedFindings
from lmm_classifier.index.opening import open_searched
from lmm_classifier.index.settings.remembered import config_of_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig

_NEIGHBORS = 5
_MAX_OUTLIERS = 0.01  # fraction of the examples that may count as outliers
_OUTLIER_FAMILIARITY = -2.5  # an outlier is less familiar, in robust standard deviations
_MAX_COMPARISONS = 20_000_000_000  # judged examples times examples: all of 140,000
_ALL_STORED = 140_000  # examples of a store that are all judged; of more a sample


def audit_index(
    index_path: Path | str,
    config: PipelineConfig | None = None,
    near_duplicate: float | None = None,
    progress: ProgressOption | None = None,
) -> Audit:
    """Find mistakes in the dataset of an index. The index is not changed, and dismissed findings are left out.

    Each example is judged by the others (leave-one-out). Of more than 140,000 examples, or where examples times labels
    exceed 20 million, a sample is judged. Where the examples stay in a store (`retrieval.search: store`), they are
    judged through the comparison that answers: all of 140,000, and 20,000 of more, however many labels there are.
    Copies of an image under one label count once there.

    Args:
        index_path: a durable index (folder), an `.npz` file, or a table.
        config: names the rule that judges; `rule: auto` by default.
        near_duplicate: cosine similarity from which two images count as near duplicates, 0 to 1; no image is read
            then. None: the pixels decide, and the vectors where an image cannot be read; see `duplicates`.
        progress: True shows it; a function is called between two batches, and may raise `Cancelled` to stop.

    Raises:
        ConfigError: if `near_duplicate` is outside 0 to 1.
        IndexFileError: if there is no sound index at `index_path`.
        CalibrationError: if the dataset is too small to hold anything out.
        ConfigError: if the examples shall stay in a store that cannot answer the rule.

    Example:
        >>> from lmm_classifier import PipelineConfig, audit_index
        >>> audit = audit_index("index", PipelineConfig.offline(), near_duplicate=0.99)
        >>> 0 <= audit.accuracy <= 1
        True
        >>> all(0 <= issue.label_quality <= 1 for issue in audit.label_issues)
        True
    """
    if near_duplicate is not None and not 0 <= near_duplicate <= 1:
        raise ConfigError(
            f"near_duplicate is {near_duplicate}. Expected a cosine similarity of 0 to 1, or none to compare pixels."
        )
    config = config or config_of_index(index_path)
    indexes = open_searched(config.retrieval, index_location(index_path))
    with displayed(progress) as show:
        return audit_opened_index(indexes, config, near_duplicate, show)


def audit_opened_index(
    indexes: Sequence[Index],
    config: PipelineConfig,
    near_duplicate: float | None = None,
    progress: ProgressCallback | None = None,
    on_labels: Callable[[Audit], None] | None = None,
) -> Audit:
    """Find mistakes in the dataset of an index that is open already; see `audit_index`.

    `indexes` are the examples with the vectors of each encoder. `on_labels` is called with all but the duplicates,
    before images are read for these.
    """
    index = indexes[0]
    if len(index.label_names) < 2 or len(index) <= len(index.label_names):
        labels = f"{len(index.label_names)} label{'' if len(index.label_names) == 1 else 's'}"
        raise CalibrationError(
            f"The index holds {len(index)} images of {labels}. An audit needs two labels, and more than one image of "
            "some label. Add images."
        )
    (calibration, predictions), examples = _held_out(config.retrieval, indexes, progress)
    index = indexes[calibration.cascade.encoders[0]]
    dismissed = DismissedFindings(index.contents.dismissals)
    correct, judged = int(examples.correct.sum()), len(examples)
    wrong = expected_wrong_labels(predictions.log_probabilities, predictions.label_ids, progress, among=judged)
    issues = list(_label_issues(index, examples, wrong.expected, progress))
    outliers = list(_outliers(index, examples))
    audit = Audit(
        examples=len(index),
        judged=judged,
        accuracy=correct / judged,
        interval=wilson_interval(correct, judged),
        label_issues=[issue for issue in issues if not dismissed.cover(issue.dismissal)],
        wrong_labels=wrong,
        duplicates=[],
        searched=0,
        outliers=[outlier for outlier in outliers if not dismissed.cover(outlier.dismissal)],
        thin={name: int(count) for name, count in zip(index.label_names, index.label_counts) if count < THIN},
        confusable=_confusable(index, examples),
        dismissed=sum(dismissed.cover(issue.dismissal) for issue in issues)
        + sum(dismissed.cover(outlier.dismissal) for outlier in outliers),
        ranking=dict(zip(examples.rows.tolist(), examples.deficit.tolist())),
    )
    if on_labels is not None:
        on_labels(audit)
    if isinstance(index, StoreIndex):
        groups, searched = find_stored_duplicates(index, examples.rows, config.images, near_duplicate, progress)
    else:
        groups, searched = find_duplicates(index, config.images, near_duplicate, progress), len(index)
    kept = [group for group in groups if not dismissed.cover(group.dismissal)]
    return replace(audit, duplicates=kept, searched=searched, dismissed=audit.dismissed + len(groups) - len(kept))


def _held_out(
    config: RetrievalConfig, indexes: Sequence[Index], progress: ProgressCallback | None
) -> tuple[Fit, JudgedExamples]:
    """Fit the rule, and judge as many examples as time and memory allow."""
    stores, count = [index.store for index in indexes if isinstance(index, StoreIndex)], len(indexes[0])
    if not stores:
        most = max(_MAX_COMPARISONS // count, 1)
        fitted = fit_by_leave_one_out(config, indexes, most=most, progress=progress)
        return fitted, JudgedExamples.of(fitted[1])
    # of a store only some rows are read for an example, some ms each, so that their number does not count
    most = count if count <= _ALL_STORED else MOST_ROWS
    fitted = fit_through_stores(config, stores, StoreFitting(most=most, sparse=False), progress=progress)
    if len(fitted[1].rows) >= most:
        return fitted, JudgedExamples.of(fitted[1])
    ids, parts, done = sample_of_store(stores[0], most).ids, list[JudgedExamples](), 0
    for block in judged_blocks(stores, fitted, ids):
        parts.append(JudgedExamples.of(block))
        done += len(block.rows)
        if progress is not None:
            progress(Progress("judging examples", done, len(ids)))
    return fitted, JudgedExamples.join(parts)


def _described(index: Index, rows: IntArray) -> list[tuple[Example, str]]:
    """Return the examples of rows, each with its content hash."""
    if isinstance(index, StoreIndex):
        return index.described(rows)
    return [(index.examples[row], index.hashes[row]) for row in rows.tolist()]


def _label_issues(
    index: Index, examples: JudgedExamples, expected: int, progress: ProgressCallback | None
) -> Iterator[LabelIssue]:
    """Yield the issues, the worst first; as many as are `expected` to be wrong are marked."""
    order = np.argsort(-examples.deficit, kind="stable")
    # other examples cannot support a label that has only one
    is_issue = (index.label_counts[examples.label_ids] >= 2) & (examples.p_suggested > examples.p_own)
    positions = order[is_issue[order]]
    rows = examples.rows[positions]
    near = index.nearest_others(rows, _NEIGHBORS, progress)
    for rank, (position, (example, content), nearest) in enumerate(zip(positions, _described(index, rows), near)):
        yield LabelIssue(
            example.path,
            example.label,
            index.label_names[int(examples.suggested[position])],
            1 - float(examples.deficit[position]),
            float(examples.p_own[position]),
            tuple(nearest),
            rank < expected,
            content,
        )


def _outliers(index: Index, examples: JudgedExamples) -> Iterator[Outlier]:
    rows, familiarity = examples.rows, examples.familiarity
    most = max(int(_MAX_OUTLIERS * len(rows)), 1)
    least = np.argsort(familiarity, kind="stable")[:most]
    least = least[familiarity[least] < _OUTLIER_FAMILIARITY]
    near = index.nearest_others(rows[least], _NEIGHBORS)
    for position, (example, content), nearest in zip(least, _described(index, rows[least]), near):
        yield Outlier(example.path, example.label, float(familiarity[position]), tuple(nearest), content)


def _confusable(index: Index, examples: JudgedExamples) -> list[ConfusablePair]:
    names, size = index.label_names, len(index.label_names)
    totals = np.bincount(examples.label_ids, minlength=size)
    pairs = (examples.label_ids * size + examples.answers)[~examples.correct]
    found, counts = np.unique(pairs, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [
        ConfusablePair(names[own], names[other], count, count / int(totals[own]))
        for own, other, count in zip(*divmod(found[order], size), counts[order].tolist())
    ]
