"""Calibrates an index: fits the rule, turns guarantees into thresholds, and stores both with the index."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import Fit, fit_by_groups, fit_by_leave_one_out, fit_on_held_out
from lmm_classifier.calibration.grouping import SHIFT_ALARM, group_ids, match_query_distance, shift_z_score
from lmm_classifier.calibration.guarantees.outlook import older_guarantee
from lmm_classifier.calibration.guarantees.risk_control import NoGuarantee, RiskGuarantee
from lmm_classifier.calibration.guarantees.threshold_setting import today
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit
from lmm_classifier.calibration.hierarchy.level_guarantees import (
    LevelGuarantees,
    required_guarantees,
    with_guarantees,
)
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.repeated_objects import RepeatedObjects
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.calibration.simulated_unknowns import OpenSetTradeoff
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.data.image_folder import (
    find_images,
    near_label_notes,
    nothing_found,
    scan_image_folder,
    skipped_notes,
)
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import is_durable, write_calibration
from lmm_classifier.index.named_groups import named_groups
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.former_calibration import FormerCalibration, RerankerMeasurement
from lmm_classifier.pipeline.fusion_report import compare_ladders, fused_tradeoff, fusion_notes
from lmm_classifier.pipeline.hierarchy.opening import open_hierarchy
from lmm_classifier.pipeline.index_encoder import encode_label_names
from lmm_classifier.pipeline.near_copies import encode_unseen
from lmm_classifier.pipeline.rerank_calibrator import measure_on_predictions

logger: logging.Logger = logging.getLogger(__name__)

_FEW_NEW = 50  # new images below which a shift is easily missed


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
    levels: LevelGuarantees | None  # None: no target precision was asked for
    sgr_guarantee: RiskGuarantee | NoGuarantee | None  # what selection with guaranteed risk would give instead

    @property
    def guarantee(self) -> RiskGuarantee | None:
        """Return the guarantee of labels; None where no precision was asked for, or only coarse labels have one."""
        return self.levels.of_labels if self.levels else None

    @property
    def warning(self) -> str:
        """Return why the figures are too optimistic; empty where they are not."""
        return self.calibration.warning

    @property
    def tradeoff(self) -> OpenSetTradeoff | None:
        """Return how many unknown images are accepted; None where the index is small, or its transform was fitted."""
        return self.calibration.tradeoff

    @property
    def accuracy(self) -> float:
        """Return the fraction of held-out examples whose most likely label is the true one, 0 to 1."""
        return float(self.predictions.correct.mean())


def calibrate_index(
    index_path: Path | str,
    config: PipelineConfig | None = None,
    request: CalibrationRequest | None = None,
    progress: ProgressCallback | None = None,
    *,
    reset: bool = False,
) -> CalibrationReport:
    """Calibrate an index and store the calibration in it, with the request.

    What the request does not mention stays as the former calibration had it. A transform that was fitted to former
    images is fitted again first, and stays so whatever happens then.

    Args:
        index_path: a durable index (folder) or an `.npz` file.
        config: names the rule, and the encoder where images must be encoded.
        request: what is asked for; None repeats what was asked for before.
        progress: called between two batches; raise `Cancelled` in it to stop. No calibration is stored then.
        reset: forget what former calibrations were asked for, and what they measured of the reranker.

    Raises:
        CalibrationError: if the index is too small for what is asked, or the request contradicts itself. No
            calibration is stored then.

    Example:
        >>> from lmm_classifier import CalibrationRequest, PipelineConfig, calibrate_index
        >>> report = calibrate_index("index", PipelineConfig.offline(), CalibrationRequest(keep_known=0.9))
        >>> calibrate_index("index", PipelineConfig.offline()).calibration.keep_known
        0.9
    """
    path, config, asked = expand_home(index_path), config or PipelineConfig(), request or CalibrationRequest()
    asked.check()
    refitted = is_durable(path) and IndexEditor(path, config).refit()
    indexes = Index.open_each(path)
    index = indexes[0]
    _check_size(index, path)
    former = FormerCalibration() if reset else FormerCalibration.of(index, config)
    request = former.merged(asked)
    texts = encode_label_names(indexes, config, path)
    fit, method, notes = _fit(indexes, config, path, request, texts, progress)
    fitted, predictions = fit
    hierarchy = HierarchyFit.of(open_hierarchy(config, index.contents), predictions, index.label_names)
    levels = required_guarantees(fitted.held_out, hierarchy, request)
    warning = _warning(indexes, request)
    reranking = former.reranking
    if request.max_calls is not None:
        reranking = _measured(indexes, path, config, fit, request, progress)
    calibration = replace(
        fitted,
        ladders=compare_ladders(indexes, predictions, request, equal=bool(warning)),
        hierarchy=hierarchy,
        warning=warning,
        tradeoff=fused_tradeoff(indexes, fitted),
        request=replace(request, max_calls=reranking.max_calls),
        reranker_benefit=reranking.benefit,
        reranker_date=reranking.date,
        date=today(),
    )
    calibration = with_guarantees(calibration, levels)
    write_calibration(path, index.contents, calibration.to_arrays(index.contents))
    notes += [*_fitted_again(refitted, fitted, texts), *fusion_notes(index, fitted, config)]
    notes += former.notes(request, asked)
    return CalibrationReport(
        calibration, predictions, method, tuple(notes), levels, older_guarantee(fitted.held_out, request)
    )


def _fitted_again(refitted: bool, calibration: Calibration, texts: Sequence[Float32Array | None]) -> Iterator[str]:
    """Say what became of the transform and of the label names."""
    if refitted:
        yield "transform: fitted again, because the images changed"
    for fit, names in zip(calibration.fits, texts, strict=True):
        text = fit.rule.text
        if names is not None:
            yield f"zero-shot text: weight {text.weight:g}" if text else "zero-shot text: does not help, not used"


def _warning(indexes: Sequence[Index], request: CalibrationRequest) -> str:
    """Say why leave-one-out is too optimistic here, where nothing in the request prevents it."""
    if request.holdout is not None or request.group_by is not None or request.target_images is not None:
        return ""
    measured = [repeated for index in indexes if (repeated := RepeatedObjects.of(index.gallery)).likely]
    if not measured:
        return ""
    equal = " Until their groups are known, all encoders have equal weights." if len(indexes) > 1 else ""
    return (
        "The dataset seems to hold several images of the same objects, so held-out examples are easier than new images "
        f"(their nearest image of the same label is at {min(repeated.lowest for repeated in measured):.2f} of the "
        f"distance to others).{equal}"
    )


def _measured(
    indexes: Sequence[Index],
    path: Path,
    config: PipelineConfig,
    fit: Fit,
    request: CalibrationRequest,
    progress: ProgressCallback | None,
) -> RerankerMeasurement:
    """Measure the reranker on held-out examples; a holdout leaves none, so leave-one-out gives them."""
    if request.holdout is not None:
        fit = fit_by_leave_one_out(config.retrieval, indexes)
    benefit = measure_on_predictions(indexes, path, config, fit, request.max_calls or 0, progress)
    return RerankerMeasurement(benefit, today(), request.max_calls)


def _check_size(index: Index, path: Path) -> None:
    labels = index.gallery.labels
    if labels < 2 or len(index) <= labels:
        raise CalibrationError(
            f"{path} holds {len(index)} images of {labels} label{'' if labels == 1 else 's'}. Leave-one-out needs two "
            "labels, and more than one image of some. Add images and build the index again."
        )


def _fit(
    indexes: Sequence[Index],
    config: PipelineConfig,
    path: Path,
    request: CalibrationRequest,
    texts: Sequence[Float32Array | None],
    progress: ProgressCallback | None,
) -> tuple[Fit, str, list[str]]:
    """Fit by the strategy that the request asks for; return the fit, the method in words, and notes."""
    if request.holdout is not None:
        vectors, label_ids, notes = _holdout(indexes, config, path, request.holdout, progress)
        fit = fit_on_held_out(config.retrieval, indexes, vectors, label_ids, texts)
        return fit, f"of {request.holdout}", notes
    groups, notes = _groups(indexes, config, path, request, progress)
    if groups is not None:
        fit = fit_by_groups(config.retrieval, indexes, groups, texts, progress)
        return fit, f"held out with their group, of {len(np.unique(groups))} groups", notes
    fit = fit_by_leave_one_out(config.retrieval, indexes, texts=texts, progress=progress)
    exact = all(isinstance(index.transform, IdentityTransform) for index in indexes)
    return fit, "held out one by one" if exact else "held out by folds, because the transform is fitted", notes


def _groups(
    indexes: Sequence[Index],
    config: PipelineConfig,
    path: Path,
    request: CalibrationRequest,
    progress: ProgressCallback | None,
) -> tuple[IntArray | None, list[str]]:
    """Return the groups to hold out together (None: each example alone), and notes."""
    index, groups, notes = indexes[0], None, list[str]()
    if request.group_by is not None:
        named = named_groups(index.manifest, request.group_by, config.images)
        groups = group_ids([example.path for example in index.examples], request.group_by, named)
        single = [name for number, name in enumerate(index.label_names) if len(set(groups[index.rows_of(number)])) < 2]
        if len(single) == len(index.label_names):
            what = f"The groups {request.group_by!r} put each label into one group"
            raise CalibrationError(f"{what}, so no example of a held-out label remains. Choose smaller groups.")
        notes += [f"{name}: one group only, so its examples count as errors" for name in single]
    if request.target_images is None:
        return groups, notes
    found = find_images(request.target_images, config.images.follow_links)
    if not found.paths:
        what = f"{request.target_images} holds no readable image"
        raise CalibrationError(nothing_found(what, found.skipped, "expected image files"))
    notes += skipped_notes(request.target_images, found.skipped)
    unseen = encode_unseen(indexes, config, path, found.paths, request.target_images, progress)
    return _match_target(
        index, index.queries(unseen.vectors[0]), request.target_images, groups, [*notes, *unseen.notes]
    )


def _match_target(
    index: Index, new: Float32Array, target_images: Path, groups: IntArray | None, notes: list[str]
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
    indexes: Sequence[Index], config: PipelineConfig, path: Path, folder: Path, progress: ProgressCallback | None
) -> tuple[Sequence[Float32Array], IntArray, list[str]]:
    """Encode a labeled folder: vectors (n, dim) of each encoder, label numbers (n,), and notes."""
    index = indexes[0]
    dataset = scan_image_folder(folder, config.images.follow_links)
    examples = dataset.examples
    numbers = {name: number for number, name in enumerate(index.label_names)}
    known = [example for example in examples if example.label in numbers]
    ignored = len(examples) - len(known)
    notes = [f"{folder}: {ignored} images of other labels ignored"] if ignored else []
    notes += [*skipped_notes(folder, dataset.skipped), *near_label_notes(folder, examples, numbers)]
    files: Sequence[Path] = [folder / example.path for example in known]
    if not files:
        raise CalibrationError(f"{folder} holds no readable image of a label of the index")
    unseen = encode_unseen(indexes, config, path, files, folder, progress)
    label_ids = np.array([numbers[known[position].label] for position in unseen.positions], np.int64)
    return unseen.vectors, label_ids, [*notes, *unseen.notes]
