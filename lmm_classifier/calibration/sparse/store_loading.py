"""Stores and reads the calibration of a store of rows: it belongs to one version of the store and to one comparison."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fitted_rule import FittedRule
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.loading import (
    OTHER_RULE,
    Loaded,
    Missing,
    Stale,
    other_encoders,
    restored_around,
)
from lmm_classifier.core.arrays import Arrays, unnest
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.staleness import vectors_digest
from lmm_classifier.neighbors.gathering.gathered import UnreadLabels
from lmm_classifier.neighbors.novelty import Familiarity
from lmm_classifier.neighbors.voting import RuleSpec

logger: logging.Logger = logging.getLogger(__name__)


def store_calibration_arrays(
    calibration: Calibration, contents: IndexContents, version: str
) -> dict[str, NDArray[Any]]:
    """Return the arrays to store for a calibration that was made through the store with this `version`.

    The rule names the comparison with its limits. Nothing in the arrays grows with the number of rows.
    """
    arrays = calibration.to_arrays(contents)
    for name in ("examples", "label_ids"):  # of an index that is in memory as well
        arrays.pop(name)
    return {**arrays, "store": np.array([version])}


def load_store_calibration(
    contents: IndexContents, version: str, spec: RuleSpec | None, encoders: Sequence[int] | None = None
) -> Loaded | Stale | Missing:
    """Read the calibration of a store.

    Args:
        contents: describe the store, and hold the arrays.
        version: of the rows and of the search that are there now, see `stores_version`.
        spec: the rule with its comparison, see `make_store_rule`. None describes whatever is stored.
        encoders: the places of the configured encoders; a calibration of others is stale. None: all of the index.
    """
    arrays = contents.calibration
    if arrays is None:
        return Missing()
    try:
        if str(arrays["vectors"].item()) != vectors_digest(contents):
            return Stale("The calibration is stale: the encoder of the index changed.")
        if encoders is not None and (stale := other_encoders(contents, encoders)) is not None:
            return stale
        rule_name = str(arrays["rule"].item())
        if spec is not None and rule_name != spec.name:
            reason = f"The calibration is of the rule '{rule_name}', but '{spec.name}' is configured."
            return Stale(reason, OTHER_RULE)
        made_on = str(arrays["store"].item())
        if made_on != version:
            return Stale(
                "The calibration is stale: it was made on another version of the rows or of their search index "
                f"({made_on}); now there is {version}."
            )
        labels = len(contents_labels(arrays))
        fits = [_fit_of(unnest(f"encoder.{place}", arrays), spec, labels) for place in range(len(contents.vectors))]
        return Loaded(restored_around(fits, arrays, contents, {}))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        return Stale(f"The calibration is damaged ({error}).")


def usable_store_calibration(
    contents: IndexContents, version: str, spec: RuleSpec, encoders: Sequence[int] | None = None
) -> Calibration | None:
    """Return the stored calibration, or None where it is missing or stale; log what a user should know."""
    match load_store_calibration(contents, version, spec, encoders):
        case Loaded(calibration, _):
            return calibration
        case Stale(reason, remedy):
            logger.warning("%s It is not used. %s", reason, remedy)
    return None


def stores_version(stores: Sequence[RowStore]) -> str:
    """Identify the stores of all encoders of an index."""
    return "; ".join(store.version for store in stores)


def contents_labels(arrays: Arrays) -> list[str]:
    """Return the labels that a calibration was made for, ascending."""
    return list(map(str, arrays["labels"]))


def _fit_of(fitted: Arrays, spec: RuleSpec | None, labels: int) -> EncoderFit:
    familiarity = Familiarity.from_arrays(unnest("familiarity", fitted), labels)
    if not np.isfinite(familiarity.knn_distance).all():
        raise ValueError("kNN distances of labels that are not finite")
    unread = UnreadLabels.from_array(fitted["unread"]) if "unread" in fitted else UnreadLabels()
    means = np.asarray(fitted["means"], np.float64) if "means" in fitted else None
    if means is not None and (means.ndim != 2 or len(means) != labels or not np.isfinite(means).all()):
        raise ValueError(f"means {means.shape} of {labels} labels")
    return EncoderFit(FittedRule.from_arrays(fitted, spec), familiarity, None, unread, means)
