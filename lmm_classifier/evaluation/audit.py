"""Audit a dataset: find labels that are likely wrong, duplicates, outliers, and labels that are hard to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.datatypes import Neighbor
from lmm_classifier.core.errors import CalibrationError, ConfigError
from lmm_classifier.core.metrics import wilson_interval
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.evaluation.duplicates import Duplicates, find_duplicates
from lmm_classifier.evaluation.label_noise import WrongLabels, expected_wrong_labels
from lmm_classifier.index.dismissals import Dismissal, DismissedFindings
from lmm_classifier.index.settings.remembered import config_of_index
from lmm_classifier.index.vector_index import Index

_NEIGHBORS = 5
_MAX_OUTLIERS = 0.01  # fraction of the examples that may count as outliers
_OUTLIER_FAMILIARITY = -2.5  # an outlier is less familiar, in robust standard deviations
THIN = 5  # a label with fewer examples is thin
_MAX_COMPARISONS = 20_000_000_000  # judged examples times examples: all of 140,000


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """An example whose label may be wrong: the other examples give another label a higher probability.

    `label_quality` is 1 - (2 (1 - p(own)) + p(suggested) - p(own)) / 3, where p are the probabilities of the labels
    when the example is held out.
    """

    path: str
    label: str
    suggested: str  # the most probable other label
    label_quality: float  # 0 to 1, lower is worse
    probability: float  # of its own label, 0 to 1
    neighbors: tuple[Neighbor, ...]  # nearest first
    likely: bool = False  # among the worst, as many as labels are expected to be wrong
    content_hash: str = ""  # SHA-256 of the image file, hexadecimal

    @property
    def dismissal(self) -> Dismissal:
        """Return what `IndexEditor.dismiss` takes where the label is right."""
        return Dismissal.of("label", [(self.content_hash, self.label)])


@dataclass(frozen=True, slots=True)
class Outlier:
    """An example that is similar to nothing else in the dataset."""

    path: str
    label: str
    familiarity: float  # in robust standard deviations; 0 is typical, lower is less familiar
    neighbors: tuple[Neighbor, ...]  # nearest first
    content_hash: str = ""  # SHA-256 of the image file, hexadecimal

    @property
    def dismissal(self) -> Dismissal:
        """Return what `IndexEditor.dismiss` takes where the image belongs to the dataset."""
        return Dismissal.of("outlier", [(self.content_hash, self.label)])


@dataclass(frozen=True, slots=True)
class ConfusablePair:
    """Two labels of which the first is predicted as the second when its examples are held out."""

    label: str
    predicted_as: str
    count: int  # such examples
    fraction: float  # of the examples of `label`, 0 to 1


@dataclass(frozen=True)
class Audit:
    """What an audit found in a dataset; the worst findings of each kind come first.

    Example:
        >>> from lmm_classifier import Audit, PipelineConfig, audit_index
        >>> audit = audit_index("index", PipelineConfig.offline())
        >>> isinstance(audit, Audit), audit.judged == audit.examples
        (True, True)
        >>> sorted(audit.to_dict())[:3]
        ['accuracy', 'confusable', 'dismissed']
    """

    examples: int
    """Examples in the index."""
    judged: int
    """Examples that were held out and judged by the others; a sample where there are very many."""
    accuracy: float
    """Fraction of the judged examples that are predicted as their label, 0 to 1."""
    interval: tuple[float, float]
    """95% confidence interval of the accuracy."""
    label_issues: list[LabelIssue]
    """Labels that may be wrong, the lowest label quality first; the first are marked as likely wrong."""
    wrong_labels: WrongLabels
    """How many of the judged labels are expected to be wrong, with a 95% interval."""
    duplicates: list[Duplicates]
    """Groups of the same or nearly the same image, groups with several labels first."""
    outliers: list[Outlier]
    """Examples that are similar to nothing else, the least familiar first."""
    thin: dict[str, int]
    """Labels with fewer than 5 examples, and the number of their examples."""
    confusable: list[ConfusablePair]
    """Pairs of labels that are mistaken for each other, the most frequent first."""
    dismissed: int
    """Findings that are left out, because a person dismissed them with `IndexEditor.dismiss`."""
    ranking: dict[int, float]
    """1 - label quality of each judged example by its row in the index, higher is worse; in full precision."""

    @property
    def likely_issues(self) -> list[LabelIssue]:
        """Return the labels that are likely wrong: the worst, as many as are expected to be wrong."""
        return [issue for issue in self.label_issues if issue.likely]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; without `ranking`."""
        values = asdict(self)
        del values["ranking"]
        for group, duplicates in zip(values["duplicates"], self.duplicates):
            group["contradict"] = duplicates.contradict
        return values


def audit_index(
    index_path: Path | str,
    config: PipelineConfig | None = None,
    near_duplicate: float | None = None,
    progress: ProgressCallback | None = None,
) -> Audit:
    """Find mistakes in the dataset of an index. The index is not changed, and dismissed findings are left out.

    Each example is judged by the others (leave-one-out). Of more than 140,000 examples, or where examples times labels
    exceed 20 million, a sample is judged.

    Args:
        index_path: a durable index (folder) or an `.npz` file.
        config: names the rule that judges; `rule: auto` by default.
        near_duplicate: cosine similarity from which two images count as near duplicates, 0 to 1; no image is read
            then. None: the pixels decide, and the vectors where an image cannot be read; see `duplicates`.
        progress: called between two batches; raise `Cancelled` in it to stop.

    Raises:
        ConfigError: if `near_duplicate` is outside 0 to 1.
        IndexFileError: if there is no sound index at `index_path`.
        CalibrationError: if the dataset is too small to hold anything out.

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
    return audit_opened_index(
        Index.open_each(expand_home(index_path)), config or config_of_index(index_path), near_duplicate, progress
    )


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
    max_judged = max(_MAX_COMPARISONS // len(index), 1)
    calibration, predictions = fit_by_leave_one_out(config.retrieval, indexes, most=max_judged, progress=progress)
    index = indexes[calibration.cascade.encoders[0]]
    dismissed = DismissedFindings(index.contents.dismissals)
    quality = _LabelQuality.of(predictions)
    correct, judged = int(predictions.correct.sum()), len(predictions.rows)
    wrong = expected_wrong_labels(predictions.log_probabilities, predictions.label_ids, progress)
    issues = list(_label_issues(index, predictions, quality, wrong.expected, progress))
    outliers = list(_outliers(index, predictions.rows, predictions.familiarity))
    audit = Audit(
        examples=len(index),
        judged=judged,
        accuracy=correct / judged,
        interval=wilson_interval(correct, judged),
        label_issues=[issue for issue in issues if not dismissed.cover(issue.dismissal)],
        wrong_labels=wrong,
        duplicates=[],
        outliers=[outlier for outlier in outliers if not dismissed.cover(outlier.dismissal)],
        thin={name: int(count) for name, count in zip(index.label_names, index.gallery.counts) if count < THIN},
        confusable=_confusable(index, predictions),
        dismissed=sum(dismissed.cover(issue.dismissal) for issue in issues)
        + sum(dismissed.cover(outlier.dismissal) for outlier in outliers),
        ranking=dict(zip(predictions.rows.tolist(), quality.deficit.tolist())),
    )
    if on_labels is not None:
        on_labels(audit)
    groups = find_duplicates(index, config.images, near_duplicate, progress)
    kept = [group for group in groups if not dismissed.cover(group.dismissal)]
    return replace(audit, duplicates=kept, dismissed=audit.dismissed + len(groups) - len(kept))


@dataclass(frozen=True)
class _LabelQuality:
    """Label quality of each held-out example (n,), its most probable other label, and the probabilities of both."""

    deficit: Float64Array  # 1 - quality: near 1 the quality itself would lose the order of sound examples
    suggested: IntArray
    p_own: Float64Array
    p_suggested: Float64Array

    @classmethod
    def of(cls, predictions: HeldOutPredictions) -> _LabelQuality:
        """Compute it from the mean of all experts and of the last one alone, which are the neighbors.

        The neighbors so count twice. Of the two usual measures, 1 - p(own) finds labels that are wrong at random, and
        the margin finds labels that were confused with the most similar one.
        """
        probabilities = (np.exp(predictions.log_probabilities) + np.exp(predictions.expert_log_probabilities[-1])) / 2
        rows = np.arange(len(predictions.rows))
        own = probabilities[rows, predictions.label_ids].copy()
        probabilities[rows, predictions.label_ids] = -1
        suggested = probabilities.argmax(axis=1)
        margin = probabilities[rows, suggested] - own
        return cls((2 * (1 - own) + margin) / 3, suggested, own, probabilities[rows, suggested])


def _label_issues(
    index: Index,
    predictions: HeldOutPredictions,
    quality: _LabelQuality,
    expected: int,
    progress: ProgressCallback | None,
) -> Iterator[LabelIssue]:
    """Yield the issues, the worst first; as many as are `expected` to be wrong are marked."""
    order = np.argsort(-quality.deficit, kind="stable")
    # other examples cannot support a label that has only one
    is_issue = (index.gallery.counts[predictions.label_ids] >= 2) & (quality.p_suggested > quality.p_own)
    positions = order[is_issue[order]]
    rows = predictions.rows[positions]
    for rank, (position, nearest) in enumerate(zip(positions, index.nearest_others(rows, _NEIGHBORS, progress))):
        row = int(predictions.rows[position])
        yield LabelIssue(
            index.examples[row].path,
            index.examples[row].label,
            index.label_names[int(quality.suggested[position])],
            1 - float(quality.deficit[position]),
            float(quality.p_own[position]),
            tuple(nearest),
            rank < expected,
            index.hashes[row],
        )


def _outliers(index: Index, rows: IntArray, familiarity: Float64Array) -> Iterator[Outlier]:
    most = max(int(_MAX_OUTLIERS * len(rows)), 1)
    least = np.argsort(familiarity, kind="stable")[:most]
    least = least[familiarity[least] < _OUTLIER_FAMILIARITY]
    for position, nearest in zip(least, index.nearest_others(rows[least], _NEIGHBORS)):
        row = int(rows[position])
        example = index.examples[row]
        yield Outlier(example.path, example.label, float(familiarity[position]), tuple(nearest), index.hashes[row])


def _confusable(index: Index, predictions: HeldOutPredictions) -> list[ConfusablePair]:
    names, size = index.label_names, len(index.label_names)
    answers = predictions.log_probabilities.argmax(axis=1)
    counts = np.bincount(predictions.label_ids * size + answers, minlength=size * size).reshape(size, size)
    totals = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    found = np.flatnonzero(counts)
    found = found[np.argsort(-counts.ravel()[found], kind="stable")]
    return [
        ConfusablePair(names[own], names[other], int(counts[own, other]), float(counts[own, other] / totals[own]))
        for own, other in zip(*np.unravel_index(found, counts.shape))
    ]
