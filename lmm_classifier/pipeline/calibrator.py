"""The job of `lmm-classifier calibrate`: fit the rule, turn promises into thresholds, store both with the index."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import LeftOut
from lmm_classifier.calibration.grouping import ALARM, clusters_like, groups_by, rosiness
from lmm_classifier.calibration.risk_control import Promise, Refusal, promise_by_chains, promise_by_sgr
from lmm_classifier.calibration.simulated_unknowns import Trade, estimate_trade
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError, EncoderError, MissingExtraError
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.core.protocols import Encoder, FloatArray, IntArray, TextEncoder
from lmm_classifier.data.image_folder import find_pictures, scan_corpus
from lmm_classifier.embeddings.encode_files import LazyEncoder, encode_files
from lmm_classifier.embeddings.registry import backends_of, open_encoder
from lmm_classifier.embeddings.whitening import IdentitySpace
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import write_calibration
from lmm_classifier.index.opening import require_encoder
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.voting import Recipe, open_recipe
from lmm_classifier.pipeline.rerank_calibrator import measure_second_look
from lmm_classifier.pipeline.retriever import KEEP_KNOWN
from lmm_classifier.rerank.benefit import SecondLook

logger = logging.getLogger(__name__)

_KEEPS = (0.95, 0.9, 0.8)
_FEW_NEW = 50  # new pictures under which `like` may overlook what it is for


@dataclass(frozen=True)
class Wish:
    """What a calibration is asked for; shares are 0..1.

    `holdout` is a labelled folder that takes the place of leave-one-out. `group_by` says which examples are shots of
    one object (`folder`, or a regular expression on the path). `like` is a folder of unlabelled new pictures.
    With `rerank_calls` the second look is measured too, by asking it about at most that many examples.
    """

    target_precision: float | None = None
    delta: float = 0.1
    keep_known: float = KEEP_KNOWN
    holdout: Path | None = None
    group_by: str | None = None
    like: Path | None = None
    rerank_calls: int | None = None


@dataclass(frozen=True)
class Outcome:
    """A calibration, how and from what it was made, and the promises behind its threshold."""

    calibration: Calibration
    recipe: Recipe
    left_out: LeftOut
    how: str
    notes: tuple[str, ...]
    promise: Promise | None
    by_sgr: Promise | Refusal | None
    trade: Trade | None


def calibrate(path: Path, config: PipelineConfig, wish: Wish, progress: ProgressCallback | None = None) -> Outcome:
    """Calibrate the index at `path` and store the outcome in it.

    Raises CalibrationError, and leaves the index as it is, when the corpus cannot promise what is wished for.
    """
    if wish.holdout is not None and (wish.group_by is not None or wish.like is not None):
        raise CalibrationError("--holdout replaces leave-one-out, so --group-by and --like have nothing to do with it")
    refitted = path.is_dir() and IndexEditor(path, config).refit()
    index = ExactIndex.open(path)
    gallery = index.gallery
    if gallery.labels < 2 or len(index) <= gallery.labels:
        raise CalibrationError(
            f"{path} holds {len(index)} pictures of {gallery.labels} labels; leave-one-out needs two labels and "
            "more than one picture of some: add pictures and build it again"
        )
    if wish.holdout is not None and wish.rerank_calls is not None:
        raise CalibrationError("--rerank asks about left-out examples, and --holdout leaves none out: run them apart")
    recipe = open_recipe(config.retrieval, gallery.label_ids, gallery.labels)
    before = Calibration.of(index.contents, recipe)
    texts = _texts(index, config, path)
    how, notes = "left out one by one", list[str]()
    if wish.holdout is not None:
        held_out, notes = _holdout(index, config, path, wish.holdout)
        how = f"of {wish.holdout}"
        fitted, left_out = Calibration.fit(config.retrieval, index, held_out=held_out, texts=texts)
    else:
        groups, notes = _groups(index, config, path, wish)
        if groups is not None:
            how = f"left out with their group, of {len(np.unique(groups))} groups"
        elif not isinstance(index.space, IdentitySpace):
            how = "left out by tenths or fifths, since the space of the index is fitted"
        fitted, left_out = Calibration.fit(config.retrieval, index, groups, texts=texts)
    if texts is not None:
        text = fitted.voices.text
        notes.append(
            f"label names join as a voice of weight {text.weight:g}" if text else "label names do not help: not heard"
        )
    if refitted:
        notes.append("the space was fitted to other pictures: it was fitted anew")
    promise, by_sgr = _promised(left_out, wish)
    if wish.rerank_calls is not None:
        second_look: SecondLook | None = measure_second_look(index, path, config, left_out, wish.rerank_calls, progress)
    else:
        second_look = before.second_look if before else None
    calibration = replace(
        fitted,
        confidence_threshold=promise.threshold if promise else None,
        keep_known=wish.keep_known,
        second_look=second_look,
    )
    write_calibration(path, index.contents, calibration.state(index.contents, recipe))
    trade = None
    if isinstance(index.space, IdentitySpace):
        trade = estimate_trade(fitted.voices.metric, gallery, _KEEPS)
    return Outcome(calibration, recipe, left_out, how, tuple(notes), promise, by_sgr, trade)


def _promised(left_out: LeftOut, wish: Wish) -> tuple[Promise | None, Promise | Refusal | None]:
    if wish.target_precision is None:
        return None, None
    risk, delta = 1 - wish.target_precision, wish.delta
    made = promise_by_chains(left_out.confidence, left_out.right, risk, delta)
    if isinstance(made, Refusal):
        raise CalibrationError(
            f"a precision of {wish.target_precision:g} cannot be promised (delta {delta:g}): {made.reason}. It takes "
            f"{made.needed} examples without a fault; add pictures, or ask for less. The index is unchanged"
        )
    return made, promise_by_sgr(left_out.confidence, left_out.right, risk, delta)


def _groups(index: ExactIndex, config: PipelineConfig, path: Path, wish: Wish) -> tuple[IntArray | None, list[str]]:
    """Which examples are left out together (None: each alone), and what is to be said about it."""
    groups, notes = None, []
    if wish.group_by is not None:
        groups = groups_by([example.path for example in index.examples], wish.group_by)
        whole = [name for number, name in enumerate(index.label_names) if len(set(groups[index.rows_of(number)])) < 2]
        if len(whole) == len(index.label_names):
            raise CalibrationError(
                f"--group-by {wish.group_by!r} puts every label into one group, so nothing is left to judge it by"
            )
        notes += [f"{name} is one group: its examples count as errors" for name in whole]
    if wish.like is None:
        return groups, notes
    new = index.space.transform(_encoded(index, config, path, find_pictures(wish.like))[0])
    if not len(new):
        raise CalibrationError(f"--like {wish.like} holds no readable picture")
    singly = np.arange(len(index)) if groups is None else groups
    z = rosiness(index.gallery, singly, new)
    if len(new) < _FEW_NEW:
        notes.append(f"{wish.like} holds {len(new)} pictures; under {_FEW_NEW} a difference is easily overlooked")
    if z <= ALARM:
        return groups, [*notes, f"new pictures are as near to the examples as these to each other (z = {z:.1f})"]
    clusters = clusters_like(index.gallery, new)
    notes.append(
        f"examples are nearer to each other than new pictures are to them (z = {z:.1f}): several shots of one object, "
        f"or new pictures of another kind. Examples are left out in {len(np.unique(clusters))} clusters instead"
    )
    return clusters, notes


def _holdout(
    index: ExactIndex, config: PipelineConfig, path: Path, folder: Path
) -> tuple[tuple[FloatArray, IntArray], list[str]]:
    examples = scan_corpus(folder).examples
    numbers = {name: number for number, name in enumerate(index.label_names)}
    known = [example for example in examples if example.label in numbers]
    notes = [f"{len(examples) - len(known)} pictures of other labels passed over"] if len(known) < len(examples) else []
    vectors, read = _encoded(index, config, path, [folder / example.path for example in known])
    if not len(vectors):
        raise CalibrationError(f"--holdout {folder} holds no readable picture of a label of the index")
    return (vectors, np.array([numbers[known[place].label] for place in read], np.int64)), notes


def _texts(index: ExactIndex, config: PipelineConfig, path: Path) -> FloatArray | None:
    """The label names (C, d) in the space of the index; None where there is no text tower, or it is not wanted."""
    wanted = config.retrieval.text == "auto" and config.retrieval.rule == "auto"
    if not wanted or index.manifest.fingerprint.backend != config.encoder.backend or config.encoder.backend != "siglip":
        return None
    try:
        encoder = open_encoder(config.encoder)
    except (EncoderError, MissingExtraError) as error:
        raise CalibrationError(
            f"{error} (the encoder is to read the label names; --set retrieval.text=off calibrates without)"
        ) from error
    require_encoder(index, encoder.fingerprint, str(path))
    if not isinstance(encoder, TextEncoder):
        return None
    names = [label.replace("_", " ").replace("-", " ") for label in index.label_names]
    texts = [config.retrieval.text_template.replace("{label}", name) for name in names]
    return index.space.transform(encoder.encode_texts(texts))


def _encoded(
    index: ExactIndex, config: PipelineConfig, path: Path, files: Sequence[Path]
) -> tuple[FloatArray, list[int]]:
    """Encoder vectors (n, dim) of the readable files, and their places in `files`."""
    index.manifest.require_backend(backends_of(config.encoder.backend), str(path))
    encoder: Encoder = open_encoder(config.encoder)
    require_encoder(index, encoder.fingerprint, str(path))
    vectors, read = [np.empty((0, encoder.fingerprint.dim), np.float32)], []
    for batch in encode_files(files, LazyEncoder(lambda: encoder), config.images, config.encoder.batch_size):
        for refused in batch.refused:
            logger.warning("%s is passed over: %s", files[refused.place], refused.reason)
        if batch.encoded:
            vectors.append(batch.vectors)
            read += [place for place, _ in batch.encoded]
    return np.concatenate(vectors), read
