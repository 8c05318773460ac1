"""How a calibration holds examples out: one by one, with their group, or not at all where other images are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lmm_classifier.calibration.fit import Fit, fit_by_groups, fit_by_leave_one_out, fit_on_held_out
from lmm_classifier.calibration.grouping import SHIFT_ALARM, group_ids, match_query_distance, shift_z_score
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.data.image_folder import (
    find_images,
    near_label_notes,
    nothing_found,
    scan_image_folder,
    skipped_notes,
)
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.named_groups import named_groups
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.near_copies import encode_unseen

_FEW_NEW = 50  # new images below which a shift is easily missed


@dataclass(frozen=True)
class HeldOut:
    """How examples are held out."""

    groups: IntArray | None = None  # (N,) to hold out together; None: each alone
    method: str = ""  # in words
    notes: list[str] = field(default_factory=list)
    warning: str = ""  # why this is too optimistic all the same


def fit_by_request(
    indexes: Sequence[Index],
    config: PipelineConfig,
    path: Path,
    request: CalibrationRequest,
    texts: Sequence[Float32Array | None],
    progress: ProgressCallback | None,
) -> tuple[Fit, HeldOut]:
    """Fit by the strategy that the request asks for; return the fit, and what to say of the strategy."""
    if request.holdout is not None:
        vectors, label_ids, notes = _holdout(indexes, config, path, request.holdout, progress)
        fit = fit_on_held_out(config.retrieval, indexes, vectors, label_ids, texts, progress)
        return fit, HeldOut(None, f"of {request.holdout}", notes)
    held_out = _groups(indexes, config, path, request, progress)
    groups = held_out.groups
    if groups is not None:
        fit = fit_by_groups(config.retrieval, indexes, groups, texts, progress)
        return fit, replace(held_out, method=f"held out with their group, of {len(np.unique(groups))} groups")
    fit = fit_by_leave_one_out(config.retrieval, indexes, texts=texts, progress=progress)
    exact = all(isinstance(index.transform, IdentityTransform) for index in indexes)
    method = "held out one by one" if exact else "held out by folds, because the transform is fitted"
    return fit, replace(held_out, method=method)


def _groups(
    indexes: Sequence[Index],
    config: PipelineConfig,
    path: Path,
    request: CalibrationRequest,
    progress: ProgressCallback | None,
) -> HeldOut:
    """Find the groups to hold out together."""
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
        return HeldOut(groups, notes=notes)
    found = find_images(request.target_images, config.images.follow_links)
    if not found.paths:
        what = f"{request.target_images} holds no readable image"
        raise CalibrationError(nothing_found(what, found.skipped, "expected image files"))
    notes += skipped_notes(request.target_images, found.skipped)
    unseen = encode_unseen(indexes, config, path, found.paths, request.target_images, progress)
    notes += unseen.notes
    return _match_target(index, index.queries(unseen.vectors[0]), request.target_images, groups, notes, progress)


def _match_target(
    index: Index,
    new: Float32Array,
    target_images: Path,
    groups: IntArray | None,
    notes: list[str],
    progress: ProgressCallback | None,
) -> HeldOut:
    """Compare the examples with new vectors (n, d), and group them where leave-one-out is too optimistic."""
    z = shift_z_score(index.gallery, np.arange(len(index)) if groups is None else groups, new)
    if len(new) < _FEW_NEW:
        notes.append(f"{target_images}: only {len(new)} images; with fewer than {_FEW_NEW} a shift is easily missed")
    if z <= SHIFT_ALARM:
        text = "no shift found: new images are as similar to the examples as the examples are to each other"
        return HeldOut(groups, notes=[*notes, f"{text} (z = {z:.1f})"])
    clusters = match_query_distance(index.gallery, new, progress)
    notes.append(
        f"shift found: examples are more similar to each other than new images are to them (z = {z:.1f}). The dataset "
        "has several images of one object, or the new images are of another kind. "
        f"Examples are held out in {len(np.unique(clusters))} clusters instead, which are as far from each other"
    )
    left = shift_z_score(index.gallery, clusters, new)
    warning = ""
    if left > SHIFT_ALARM:
        warning = (
            f"Whatever examples are held out together, new images are less similar to the rest (z = {left:.1f}): they "
            "are of another kind, so their errors cannot be estimated from the examples."
        )
    return HeldOut(clusters, notes=notes, warning=warning)


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
