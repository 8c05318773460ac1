"""Suggest which images to label first, where no image has a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.progress import Progress, ProgressCallback, Skipped
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.image_folder import nothing_found
from lmm_classifier.data.places import Place
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source
from lmm_classifier.discovery.cover import Cover
from lmm_classifier.discovery.fused_space import FusedSpace
from lmm_classifier.discovery.suggestions.label_order import LabelWeights, label_order
from lmm_classifier.discovery.suggestions.options import DEFAULT_OPTIONS, SuggestionOptions
from lmm_classifier.discovery.suggestions.suggestion import Suggestion, Suggestions
from lmm_classifier.discovery.unlabeled import MOST, sample_of
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.embeddings.opening import close_encoders, open_encoders
from lmm_classifier.neighbors.gallery import directions


def suggest_without_index(
    images: DatasetSpec | Path | str | Sequence[Place],
    config: PipelineConfig,
    options: SuggestionOptions = DEFAULT_OPTIONS,
    progress: ProgressCallback | None = None,
) -> Suggestions:
    """Suggest the images to label first where no image has a label yet: those that stand for most others.

    Args:
        images: a folder or any other dataset, whose labels are ignored; or image files.
        config: names the encoders, and the limits of images.
        options: how many; `by` is not used, because nothing is known of any image.
        progress: called while images are encoded; raise `Cancelled` in it to stop.

    Raises:
        DatasetError: the source cannot be read, or holds no image.

    Example:
        >>> from lmm_classifier import PipelineConfig, SuggestionOptions, suggest_without_index
        >>> suggestions = suggest_without_index("new", PipelineConfig.offline(), SuggestionOptions(count=2))
        >>> [(each.rank, each.reason, each.label) for each in suggestions.suggestions]
        [(1, 'cold_start', None), (2, 'cold_start', None)]
    """
    places, skipped = _places(images, config)
    by_name = {str(place): place for place in places}
    chosen = {name: by_name[name] for name in sample_of(list(by_name), MOST)}
    encoders = open_encoders(config.encoders)
    try:
        names, embeddings, failed = _encoded(chosen, encoders, config, progress)
    finally:
        close_encoders(encoders)
    picks = _picks(names, embeddings, options.count)
    suggestions = [
        Suggestion(place + 1, options.batch_of(place), names[row], "cold_start", 1.0, float(gain))
        for place, (row, gain) in enumerate(zip(picks.rows.tolist(), picks.gains))
    ]
    return Suggestions(
        suggestions,
        None,
        len(names),
        len(by_name),
        len(by_name) - len(chosen),
        0,
        None,
        (*skipped, *failed),
        {each.path: by_name[each.path] for each in suggestions},
    )


def _places(
    images: DatasetSpec | Path | str | Sequence[Place], config: PipelineConfig
) -> tuple[Sequence[Place], Sequence[Skipped]]:
    if not isinstance(images, DatasetSpec | Path | str):
        return images, ()
    spec = DatasetSpec.of(images)
    found = find_in_source(spec, config.images)
    if not found.places:
        raise DatasetError(nothing_found(f"No image in {spec.source}", found.skipped, "expected image files"))
    return found.places, found.skipped


def _encoded(
    files: Mapping[str, Place], encoders: Sequence[Encoder], config: PipelineConfig, progress: ProgressCallback | None
) -> tuple[list[str], list[Float32Array], list[Skipped]]:
    """Return the names of the readable files, their normalized rows (n, d) of each encoder, and the other files."""
    parts = [[np.empty((0, encoder.fingerprint.dim), np.float32)] for encoder in encoders]
    names, failed = list[str](), list[Skipped]()
    lazy = [LazyEncoder(partial(_same, encoder)) for encoder in encoders]
    for batch in encode_files(list(files.values()), Encoding(lazy, config.images, config.batch_size)):
        failed += [file.skipped for file in batch.failed]
        if batch.encoded:
            names += [str(file.path) for file in batch.encoded]
            for of_encoder, new in zip(parts, batch.vectors):
                of_encoder.append(new)
        if progress is not None:
            progress(Progress("encoding", len(names) + len(failed), len(files), len(failed)))
    vectors = [np.concatenate(of_encoder) for of_encoder in parts]
    if not names:
        return names, vectors, failed
    # the transform of an index, such as a whitening, is fitted to these images
    fits = [encoder.transform_fitter.fit(partial(_once, rows)) for encoder, rows in zip(encoders, vectors)]
    return names, [directions(fit.transform(rows))[0] for fit, rows in zip(fits, vectors)], failed


def _picks(names: Sequence[str], embeddings: Sequence[Float32Array], count: int) -> Cover:
    if not names:
        return Cover(np.empty(0, np.int64), np.empty(0))
    mapped = FusedSpace.of_unlabeled(embeddings).map(embeddings)
    return label_order(mapped, LabelWeights.without_labels(len(names)), names, count)


def _once(rows: Float32Array) -> Iterable[Float32Array]:
    return iter([rows])


def _same(encoder: Encoder) -> Encoder:
    return encoder
