"""How a calibration holds examples out: one by one, with their group, or not at all where other images are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lmm_classifier.calibration.fit import Fit, fit_by_groups, fit_by_leave_one_out, fit_on_held_out
from lmm_classifier.calibration.grouping import SHIFT_ALARM, group_ids, match_query_distance, shift_z_score
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.data.dataset import Files
from lmm_classifier.data.image_folder import near_label_notes, nothing_found, skipped_notes
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source, open_dataset
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
    path: IndexLocation,
    request: CalibrationRequest,
    texts: Sequence[Float32Array | None],
    progress: ProgressCallback | None,
    *,
    sparse: bool = False,
) -> tuple[Fit, HeldOut]:
    """Fit by the strategy that the request asks for; return the fit, and what to say of the strategy.

    `sparse` allows predictions that hold the best and the true labels only; see `fit_by_leave_one_out`.
    """
    hold_out = _HoldOut(indexes, config, path, progress)
    if request.holdout is not None:
        spec = DatasetSpec.of(request.holdout)
        vectors, label_ids, notes = hold_out.labeled(spec)
        fit = fit_on_held_out(config.retrieval, indexes, vectors, label_ids, texts, progress)
        return fit, HeldOut(None, f"of {spec}", notes)
    held_out = hold_out.groups(request)
    groups = held_out.groups
    if groups is not None:
        fit = fit_by_groups(config.retrieval, indexes, groups, texts, progress)
        return fit, replace(held_out, method=f"held out with their group, of {len(np.unique(groups))} groups")
    fit = fit_by_leave_one_out(config.retrieval, indexes, texts=texts, progress=progress, sparse=sparse)
    exact = all(isinstance(index.transform, IdentityTransform) for index in indexes)
    method = "held out one by one" if exact else "held out by folds, because the transform is fitted"
    return fit, replace(held_out, method=method)


@dataclass(frozen=True)
class _HoldOut:
    """Finds what to hold out, for the index at `path`, opened once for each of its encoders."""

    indexes: Sequence[Index]
    config: PipelineConfig
    path: IndexLocation
    progress: ProgressCallback | None = None

    def labeled(self, spec: DatasetSpec) -> tuple[Sequence[Float32Array], IntArray, list[str]]:
        """Encode a labeled dataset: vectors (n, dim) of each encoder, label numbers (n,), and notes."""
        index, source = self.indexes[0], spec.source
        dataset = open_dataset(spec, self.config.images)
        examples = dataset.examples
        numbers = {name: number for number, name in enumerate(index.label_names)}
        known = [example for example in examples if example.label in numbers]
        ignored = len(examples) - len(known)
        notes = [f"{source}: {ignored} images of other labels ignored"] if ignored else []
        notes += [*skipped_notes(source, dataset.skipped), *near_label_notes(source, examples, numbers)]
        if not known:
            raise CalibrationError(f"{source} holds no readable image of a label of the index")
        files = Files(dataset.root, known)
        unseen = encode_unseen(self.indexes, self.config, self.path, files, source, self.progress)
        label_ids = np.array([numbers[known[position].label] for position in unseen.positions], np.int64)
        return unseen.vectors, label_ids, [*notes, *unseen.notes]

    def groups(self, request: CalibrationRequest) -> HeldOut:
        """Find the groups to hold out together."""
        index, groups, notes = self.indexes[0], None, list[str]()
        if request.group_by is not None:
            named = named_groups(index.contents, request.group_by, self.config.images)
            groups = group_ids([example.path for example in index.examples], request.group_by, named)
            names = enumerate(index.label_names)
            single = [name for number, name in names if len(set(groups[index.gallery.rows_of_label[number]])) < 2]
            if len(single) == len(index.label_names):
                what = f"The groups {request.group_by!r} put each label into one group"
                raise CalibrationError(f"{what}, so no example of a held-out label remains. Choose smaller groups.")
            notes += [f"{name}: one group only, so its examples count as errors" for name in single]
        if request.target_images is None:
            return HeldOut(groups, notes=notes)
        target = DatasetSpec.of(request.target_images)
        found = find_in_source(target, self.config.images)
        if not found.places:
            what = f"{target.source} holds no readable image"
            raise CalibrationError(nothing_found(what, found.skipped, "expected image files"))
        notes += skipped_notes(target.source, found.skipped)
        unseen = encode_unseen(self.indexes, self.config, self.path, found.places, target.source, self.progress)
        vectors = index.queries(unseen.vectors[0])
        return _match_target(index, vectors, target.source, groups, [*notes, *unseen.notes], self.progress)


def _match_target(
    index: Index,
    new: Float32Array,
    source: str,
    groups: IntArray | None,
    notes: list[str],
    progress: ProgressCallback | None,
) -> HeldOut:
    """Compare the examples with new vectors (n, d), and group them where leave-one-out is too optimistic."""
    z = shift_z_score(index.gallery, np.arange(len(index)) if groups is None else groups, new)
    if len(new) < _FEW_NEW:
        notes.append(f"{source}: only {len(new)} images; with fewer than {_FEW_NEW} a shift is easily missed")
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
