"""Calibrates an index: fits the rule, turns guarantees into thresholds, and stores both with the index."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import Fit, fit_by_groups, fit_by_leave_one_out, fit_on_held_out
from lmm_classifier.calibration.grouping import SHIFT_ALARM, group_ids, match_query_distance, shift_z_score
from lmm_classifier.calibration.loading import usable_calibration
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.risk_control import (
    NoGuarantee,
    RiskGuarantee,
    fixed_sequence_threshold,
    sgr_threshold,
)
from lmm_classifier.calibration.simulated_unknowns import OpenSetTradeoff, estimate_open_set_tradeoff
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.data.image_folder import find_images, scan_image_folder
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import is_durable, write_calibration
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.pipeline.index_encoder import encode_label_names
from lmm_classifier.pipeline.near_copies import encode_unseen
from lmm_classifier.pipeline.rerank_calibrator import measure_on_predictions
from lmm_classifier.pipeline.thresholds import DEFAULT_KEEP_KNOWN

logger = logging.getLogger(__name__)

_KEEP_KNOWN_RATES = (0.95, 0.9, 0.8)
_FEW_NEW = 50  # new images below which a shift is easily missed


@dataclass(frozen=True)
class CalibrationRequest:
    """What a calibration is asked for.

    Example:
        >>> from lmm_classifier import CalibrationRequest
        >>> CalibrationRequest(target_precision=0.95).confidence_level
        0.9
    """

    target_precision: float | None = None  # 0 to 1: accepted answers shall be correct this often; None: no guarantee
    confidence_level: float = 0.9  # 0 to 1: probability that the guarantee holds
    keep_known: float = DEFAULT_KEEP_KNOWN  # 0 to 1: true-positive rate of images of known labels
    holdout: Path | None = None  # labeled folder that takes the place of leave-one-out
    group_by: str | None = None  # examples held out together: `folder`, or a regular expression on the path
    target_images: Path | None = None  # folder of unlabeled images from production, to find out about a shift
    max_calls: int | None = None  # measure the reranker too, with at most this many questions


@dataclass(frozen=True)
class CalibrationReport:
    """A calibration that was stored, how it was made, and the guarantee behind its threshold.

    Example:
        >>> from lmm_classifier import PipelineConfig, calibrate_index
        >>> report = calibrate_index("index", PipelineConfig.offline())
        >>> 0 <= report.accuracy <= 1, report.guarantee is None
        (True, True)
    """

    calibration: Calibration
    predictions: HeldOutPredictions
    method: str  # how examples were held out, in words
    notes: tuple[str, ...]  # what a user should know
    guarantee: RiskGuarantee | None  # None: no target precision was asked for
    sgr_guarantee: RiskGuarantee | NoGuarantee | None  # what selection with guaranteed risk would give instead
    tradeoff: OpenSetTradeoff | None  # None where the index is too small, or its transform was fitted

    @property
    def accuracy(self) -> float:
        """Return the fraction of held-out examples whose most likely label is the true one, 0 to 1."""
        return float(self.predictions.correct.mean())


def calibrate_index(
    index_path: Path | str,
    config: PipelineConfig | None = None,
    request: CalibrationRequest = CalibrationRequest(),
    progress: ProgressCallback | None = None,
) -> CalibrationReport:
    """Calibrate an index and store the calibration in it.

    A transform that was fitted to former images is fitted again first, and stays so whatever happens then.

    Args:
        index_path: a durable index (folder) or an `.npz` file.
        config: names the rule, and the encoder where images must be encoded.
        request: what is asked for.
        progress: called between two batches; raise `Cancelled` in it to stop. No calibration is stored then.

    Raises:
        CalibrationError: if the index is too small for what is asked, or the request contradicts itself. No
            calibration is stored then.

    Example:
        >>> from lmm_classifier import CalibrationRequest, PipelineConfig, calibrate_index
        >>> report = calibrate_index("index", PipelineConfig.offline(), CalibrationRequest(keep_known=0.9))
        >>> report.calibration.keep_known
        0.9
    """
    path, config = Path(index_path), config or PipelineConfig()
    _check(request)
    refitted = is_durable(path) and IndexEditor(path, config).refit()
    index = ExactIndex.open(path)
    _check_size(index, path)
    former = usable_calibration(
        index.contents, make_rule(config.retrieval, index.gallery.label_ids, index.gallery.labels)
    )
    texts = encode_label_names(index, config, path)
    (calibration, predictions), method, notes = _fit(index, config, path, request, texts, progress)
    guarantee, sgr = _guarantees(predictions, request)
    if refitted:
        notes.append("transform: fitted again, because the images changed")
    benefit = former.reranker_benefit if former else None
    if request.max_calls is not None:
        benefit = measure_on_predictions(index, path, config, predictions, request.max_calls, progress)
    calibration = replace(
        calibration,
        confidence_threshold=guarantee.threshold if guarantee else None,
        keep_known=request.keep_known,
        reranker_benefit=benefit,
        date=datetime.now(UTC).date().isoformat(),
    )
    notes += _changes(calibration, former, texts is not None)
    write_calibration(path, index.contents, calibration.to_arrays(index.contents))
    tradeoff = None
    if isinstance(index.transform, IdentityTransform):
        tradeoff = estimate_open_set_tradeoff(calibration.rule.metric, index.gallery, _KEEP_KNOWN_RATES)
    return CalibrationReport(calibration, predictions, method, tuple(notes), guarantee, sgr, tradeoff)


def _changes(calibration: Calibration, former: Calibration | None, has_texts: bool) -> Iterator[str]:
    """Say what became of the label names, and of a former threshold."""
    text = calibration.rule.text
    if has_texts:
        yield f"zero-shot text: weight {text.weight:g}" if text else "zero-shot text: does not help, not used"
    if calibration.confidence_threshold is None and former is not None and former.confidence_threshold is not None:
        yield (
            f"the confidence threshold {former.confidence_threshold:.4f} of the former calibration is no longer used, "
            "because no target precision was asked for"
        )


def _check(request: CalibrationRequest) -> None:
    """Raise CalibrationError for a request that contradicts itself or asks for impossible numbers."""
    for name in ("target_precision", "confidence_level", "keep_known"):
        value = getattr(request, name)
        if value is not None and not 0 < value < 1:
            raise CalibrationError(f"{name}: expected a number between 0 and 1, such as 0.95, got {value:g}")
    if request.holdout is not None and (request.group_by is not None or request.target_images is not None):
        raise CalibrationError("holdout replaces leave-one-out, so group_by and target_images cannot be used with it")
    if request.holdout is not None and request.max_calls is not None:
        raise CalibrationError(
            "The reranker is measured on held-out examples, and holdout leaves none. Calibrate twice: once with each."
        )


def _check_size(index: ExactIndex, path: Path) -> None:
    labels = index.gallery.labels
    if labels < 2 or len(index) <= labels:
        raise CalibrationError(
            f"{path} holds {len(index)} images of {labels} labels. Leave-one-out needs two labels, and more than one "
            "image of some. Add images and build the index again."
        )


def _fit(
    index: ExactIndex,
    config: PipelineConfig,
    path: Path,
    request: CalibrationRequest,
    texts: Float32Array | None,
    progress: ProgressCallback | None,
) -> tuple[Fit, str, list[str]]:
    """Fit by the strategy that the request asks for; return the fit, the method in words, and notes."""
    if request.holdout is not None:
        vectors, label_ids, notes = _holdout(index, config, path, request.holdout, progress)
        fit = fit_on_held_out(config.retrieval, index, vectors, label_ids, texts)
        return fit, f"of {request.holdout}", notes
    groups, notes = _groups(index, config, path, request, progress)
    if groups is not None:
        fit = fit_by_groups(config.retrieval, index, groups, texts, progress)
        return fit, f"held out with their group, of {len(np.unique(groups))} groups", notes
    fit = fit_by_leave_one_out(config.retrieval, index, texts=texts, progress=progress)
    exact = isinstance(index.transform, IdentityTransform)
    return fit, "held out one by one" if exact else "held out by folds, because the transform is fitted", notes


def _guarantees(
    predictions: HeldOutPredictions, request: CalibrationRequest
) -> tuple[RiskGuarantee | None, RiskGuarantee | NoGuarantee | None]:
    if request.target_precision is None:
        return None, None
    risk, delta = 1 - request.target_precision, 1 - request.confidence_level
    guarantee = fixed_sequence_threshold(predictions.confidence, predictions.correct, risk, delta)
    if isinstance(guarantee, NoGuarantee):
        raise CalibrationError(
            f"A precision of {request.target_precision:g} cannot be guaranteed (confidence level "
            f"{request.confidence_level:g}): {guarantee.reason}. It takes {guarantee.needed} examples without an "
            "error. Add images, or ask for less. No calibration was stored."
        )
    return guarantee, sgr_threshold(predictions.confidence, predictions.correct, risk, delta)


def _groups(
    index: ExactIndex,
    config: PipelineConfig,
    path: Path,
    request: CalibrationRequest,
    progress: ProgressCallback | None,
) -> tuple[IntArray | None, list[str]]:
    """Return the groups to hold out together (None: each example alone), and notes."""
    groups, notes = None, []
    if request.group_by is not None:
        groups = group_ids([example.path for example in index.examples], request.group_by)
        single = [name for number, name in enumerate(index.label_names) if len(set(groups[index.rows_of(number)])) < 2]
        if len(single) == len(index.label_names):
            raise CalibrationError(
                f"The groups {request.group_by!r} put each label into one group, so no example of a held-out label "
                "remains. Choose smaller groups."
            )
        notes += [f"{name}: one group only, so its examples count as errors" for name in single]
    if request.target_images is None:
        return groups, notes
    files = find_images(request.target_images)
    unseen = encode_unseen(index, config, path, files, request.target_images, progress)
    return _match_target(index, index.queries(unseen.vectors), request.target_images, groups, [*notes, *unseen.notes])


def _match_target(
    index: ExactIndex, new: Float32Array, target_images: Path, groups: IntArray | None, notes: list[str]
) -> tuple[IntArray | None, list[str]]:
    """Compare the examples with new vectors (n, d), and group them where leave-one-out is too optimistic."""
    z = shift_z_score(index.gallery, np.arange(len(index)) if groups is None else groups, new)
    if len(new) < _FEW_NEW:
        notes.append(f"{target_images}: only {len(new)} images; with fewer than {_FEW_NEW} a shift is easily missed")
    if z <= SHIFT_ALARM:
        text = "no shift found: new images are as similar to the examples as the examples are to each other"
        return groups, [*notes, f"{text} (z = {z:.1f})"]
    clusters = match_query_distance(index.gallery, new)
    notes.append(
        f"shift found: examples are more similar to each other than new images are to them (z = {z:.1f}). The dataset "
        "has several images of one object, or the new images are of another kind. "
        f"Examples are held out in {len(np.unique(clusters))} clusters instead"
    )
    return clusters, notes


def _holdout(
    index: ExactIndex, config: PipelineConfig, path: Path, folder: Path, progress: ProgressCallback | None
) -> tuple[Float32Array, IntArray, list[str]]:
    """Encode a labeled folder: vectors (n, dim), label numbers (n,), and notes."""
    examples = scan_image_folder(folder).examples
    numbers = {name: number for number, name in enumerate(index.label_names)}
    known = [example for example in examples if example.label in numbers]
    ignored = len(examples) - len(known)
    notes = [f"{folder}: {ignored} images of other labels ignored"] if ignored else []
    files: Sequence[Path] = [folder / example.path for example in known]
    if not files:
        raise CalibrationError(f"{folder} holds no readable image of a label of the index")
    unseen = encode_unseen(index, config, path, files, folder, progress)
    label_ids = np.array([numbers[known[position].label] for position in unseen.positions], np.int64)
    return unseen.vectors, label_ids, [*notes, *unseen.notes]
