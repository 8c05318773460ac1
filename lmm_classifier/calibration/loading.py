"""Reads the calibration that is stored with an index, and says plainly when it cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fitted_rule import FittedRule
from lmm_classifier.calibration.fusion.cascade import Cascade
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.fusion.ladders import ladders_from_json
from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.guarantees.risk_control import NEVER
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.calibration.simulated_unknowns import OpenSetTradeoff
from lmm_classifier.core.arrays import Arrays, Float64Array, unnest
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.staleness import ChangesSince, ExampleDigests, describe_changes, vectors_digest
from lmm_classifier.neighbors.gathering.gathered import UnreadLabels
from lmm_classifier.neighbors.novelty import Familiarity
from lmm_classifier.neighbors.voting import RuleSpec
from lmm_classifier.rerank.benefit import RerankerBenefit

logger: logging.Logger = logging.getLogger(__name__)

_AGAIN = "Run `lmm-classifier calibrate` again."
OTHER_RULE = (
    "Use the configuration that it was calibrated with, or run `lmm-classifier calibrate` with this one to replace it."
)
OTHER_ENCODERS = (
    "Use the configuration that it was calibrated with. To change the index, run `lmm-classifier build` with this "
    "one, then `lmm-classifier calibrate`."
)


@dataclass(frozen=True)
class Loaded:
    """A stored calibration that fits the index.

    Where a few examples changed since, `note` says so: its thresholds are used, but its guarantees do not cover the
    changed examples. The kNN distance of added examples is NaN until `Calibration.completed` fills it in.
    """

    calibration: Calibration
    note: str = ""


@dataclass(frozen=True)
class Stale:
    """A stored calibration that must not be used, and why."""

    reason: str
    remedy: str = _AGAIN


@dataclass(frozen=True)
class Missing:
    """An index that was never calibrated."""


def load_calibration(
    contents: IndexContents, spec: RuleSpec | None = None, encoders: Sequence[int] | None = None
) -> Loaded | Stale | Missing:
    """Read the calibration of an index.

    Args:
        contents: the index.
        encoders: the places of the configured encoders; a calibration of others, or of another order, is stale. None:
            all encoders of the index.
        spec: the configured rule. A calibration of another rule is stale. None describes whatever is stored; such a
            calibration cannot score.
    """
    arrays = contents.calibration
    if arrays is None:
        return Missing()
    try:
        if str(arrays["vectors"].item()) != vectors_digest(contents):
            return Stale("The calibration is stale: the encoder or the transform of the index changed.")
        if encoders is not None and (stale := other_encoders(contents, encoders)) is not None:
            return stale
        rule_name = str(arrays["rule"].item())
        if spec is not None and rule_name != spec.name:
            reason = f"The calibration is of the rule '{rule_name}', but '{spec.name}' is configured."
            return Stale(reason, OTHER_RULE)
        changes = ChangesSince.of(ExampleDigests.from_arrays(arrays), ExampleDigests.of(contents))
        if changes.is_too_many(len(contents.hashes)):
            return Stale(f"The calibration is stale: {describe_changes(changes, contents)}.")
        calibration = _restored(arrays, changes, contents, spec)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        return Stale(f"The calibration is damaged ({error}).")
    return Loaded(calibration, " ".join(_notes(arrays, changes, contents)))


def other_encoders(contents: IndexContents, encoders: Sequence[int]) -> Stale | None:
    """Say that a calibration, which is of all encoders of an index in their order, is not of the configured ones."""
    if list(encoders) == list(range(len(contents.vectors))):
        return None
    names = contents.manifest.encoder_names
    configured = ", ".join(names[place] for place in encoders)
    return Stale(
        f"The calibration is of the encoders {', '.join(names)}, but configured are {configured}.", OTHER_ENCODERS
    )


def stored_request(contents: IndexContents) -> CalibrationRequest | None:
    """Return what the stored calibration was asked for, also where it is stale; None where nothing is known of it."""
    arrays = contents.calibration or {}
    try:
        text = str(arrays["request"].item()) if "request" in arrays else ""
        return CalibrationRequest.from_json(text) if text else None
    except (ValueError, IndexError, TypeError) as error:
        logger.warning("The request stored with the calibration is damaged (%s), so it is forgotten.", error)
        return None


def usable_calibration(
    contents: IndexContents, spec: RuleSpec | None = None, encoders: Sequence[int] | None = None
) -> Calibration | None:
    """Return the stored calibration, or None where it is missing or stale; log what a user should know."""
    match load_calibration(contents, spec, encoders):
        case Loaded(calibration, note):
            if note:
                logger.warning("%s %s", note, _AGAIN)
            return calibration
        case Stale(reason, remedy):
            logger.warning("%s It is not used. %s", reason, remedy)
    return None


def _notes(arrays: Arrays, changes: ChangesSince, contents: IndexContents) -> Iterator[str]:
    """Say what does not hold any more in a calibration that is still used."""
    if changes.changed:
        yield (
            f"The calibration is older than the index: {describe_changes(changes, contents)}. Its guarantees do not "
            "cover them."
        )
    if changes.new_labels:
        yield f"It does not know the new labels {', '.join(changes.new_labels)}."
    if changes.renamed:
        yield f"Labels were renamed since the calibration: {_renamings(changes)}."
        if unnest("reranker_benefit", arrays):
            yield "The reranker was measured under the former names."
    if any(".zero_shot_text." in name for name in arrays) and not _knows_the_names(arrays, contents):
        yield "The zero-shot text is not used, because it embeds other label names."


def _renamings(changes: ChangesSince) -> str:
    return ", ".join(f"{before} to {now}" for before, now in changes.renamed.items())


def _knows_the_names(arrays: Arrays, contents: IndexContents) -> bool:
    return list(map(str, arrays["labels"])) == sorted(set(contents.labels))


def _restored(arrays: Arrays, changes: ChangesSince, contents: IndexContents, spec: RuleSpec | None) -> Calibration:
    count = len(contents.vectors)
    fits = [_fit_of(unnest(f"encoder.{place}", arrays), arrays, changes, contents, spec) for place in range(count)]
    return restored_around(fits, arrays, contents, changes.renamed)


def restored_around(
    fits: Sequence[EncoderFit], arrays: Arrays, contents: IndexContents, renamed: Mapping[str, str]
) -> Calibration:
    """Rebuild a calibration around what is fitted to each encoder.

    Raises:
        KeyError, ValueError, IndexError, TypeError: it is damaged.
    """
    conformity_scores = np.asarray(arrays["conformity_scores"], np.float64)
    if conformity_scores.ndim != 1 or not ((conformity_scores >= 0) & (conformity_scores <= 1)).all():
        raise ValueError("a conformity score is not a probability")
    threshold = float(arrays["confidence_threshold"].item())
    if not (np.isnan(threshold) or 0 <= threshold <= NEVER):
        raise ValueError(f"a confidence threshold of {threshold:g}")
    count = len(contents.vectors)
    benefit, hierarchy = unnest("reranker_benefit", arrays), unnest("hierarchy", arrays)
    held_out = HeldOutResults.from_arrays(unnest("held_out", arrays))
    return Calibration(
        tuple(fits),
        Cascade.from_json(str(arrays["cascade"].item()), count),
        held_out,
        conformity_scores,
        str(arrays["rule"].item()),
        confidence_threshold=None if np.isnan(threshold) else threshold,
        warning=str(arrays["warning"].item()),
        request=stored_request(contents),
        reranker_benefit=RerankerBenefit.from_arrays(benefit).renamed(renamed) if benefit else None,
        reranker_date=str(arrays["reranker_date"].item()),
        tradeoff=OpenSetTradeoff.from_json(tradeoff) if (tradeoff := str(arrays["tradeoff"].item())) else None,
        ladders=ladders_from_json(str(arrays["ladders"].item())),
        date=str(arrays["date"].item()),
        hierarchy=HierarchyFit.from_arrays(hierarchy, len(held_out)).renamed(renamed) if hierarchy else None,
        renamed=renamed,
    )


def _fit_of(
    fitted: Arrays, arrays: Arrays, changes: ChangesSince, contents: IndexContents, spec: RuleSpec | None
) -> EncoderFit:
    """Rebuild what is fitted to one encoder; the numbers of added examples are NaN."""
    familiar = unnest("familiarity", fitted)
    knn_distance = np.asarray(familiar["knn_distance"], np.float64)
    if knn_distance.shape != arrays["examples"].shape or not np.isfinite(knn_distance).all():
        raise ValueError(f"kNN distances of {knn_distance.shape} examples, expected {arrays['examples'].shape}")
    familiar["knn_distance"] = np.where(changes.rows < 0, np.nan, knn_distance[changes.rows])
    rule = FittedRule.from_arrays(fitted, spec)
    if not _knows_the_names(arrays, contents):
        rule = replace(rule, text=None)  # its texts are of other labels
    familiarity = Familiarity.from_arrays(familiar, contents.manifest.count)
    unread = UnreadLabels.from_array(fitted["unread"]) if "unread" in fitted else UnreadLabels()
    return EncoderFit(rule, familiarity, _norms(fitted, arrays["examples"].shape, changes), unread)


def _norms(arrays: Arrays, shape: tuple[int, ...], changes: ChangesSince) -> Float64Array | None:
    """Return the stored norms of the examples in the metric, NaN for added ones; None where none are stored."""
    if "norms" not in arrays:
        return None
    norms = np.asarray(arrays["norms"], np.float64)
    if norms.shape != shape or not (np.isfinite(norms) & (norms >= 0)).all():
        logger.warning("The norms stored with the calibration are damaged, so they are computed again. %s", _AGAIN)
        return None
    return np.asarray(np.where(changes.rows < 0, np.nan, norms[changes.rows]))
