"""What a calibration found: the fitted rule, what is familiar, and the thresholds promised; stored in an index."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.cross_fitting import folds_of, folds_of_groups, hear_held_out, hear_others
from lmm_classifier.calibration.fit import LeftOut, choose_metric, fit_voices, hear_left_out, sampled, usually_left_out
from lmm_classifier.calibration.fitted_rule import FittedVoices
from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.embeddings.whitening import IdentitySpace
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.staleness import Since, describe_changes, example_digests, vectors_digest
from lmm_classifier.index.vector_index import SEARCH_FROM, ExactIndex
from lmm_classifier.neighbors.brute_force import NearestRows
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import is_folded, lengths_in, whitened
from lmm_classifier.neighbors.novelty import NEIGHBOURS, Density, Familiarity, by_label, is_large
from lmm_classifier.neighbors.voting import Recipe, open_recipe
from lmm_classifier.rerank.benefit import SecondLook

logger = logging.getLogger(__name__)

_BLOCK = 256
_MOST_AT_ONCE = 1 << 24  # similarities held at a time: 67 MB
_AGAIN = "run `lmm-classifier calibrate` again"


@dataclass(frozen=True)
class Calibration:
    """A rule fitted to a corpus, what is familiar there, and thresholds; None where none was asked for."""

    voices: FittedVoices
    familiarity: Familiarity
    conformity: NDArray[np.float64]  # (n,) ascending: the probabilities of the true labels of left-out examples
    confidence_threshold: float | None = None
    keep_known: float | None = None
    second_look: SecondLook | None = None
    norms: NDArray[np.float64] | None = None  # (N,) lengths of the examples in the metric, where it is folded
    since: Since | None = None  # what became of its examples, where it was read from an index

    def least_share(self, alpha: float) -> float:
        """The probability from which a label belongs to the set that holds the true one with probability 1 - alpha.

        Split conformal prediction with the score 1 - p (Sadinle, Lei & Wasserman, arXiv 1609.00451); exact for new
        pictures that are exchangeable with those it was calibrated on.
        """
        place = math.floor(alpha * (len(self.conformity) + 1))
        return float(self.conformity[place - 1]) if place >= 1 else 0.0

    @classmethod
    def fit(
        cls,
        config: RetrievalConfig,
        index: ExactIndex,
        groups: IntArray | None = None,
        most: int | None = None,
        held_out: tuple[FloatArray, IntArray] | None = None,
        texts: FloatArray | None = None,
        beside: FloatArray | None = None,
    ) -> tuple[Calibration, LeftOut]:
        """Fit the configured rule to `index`, and learn what is familiar there.

        By exact leave-one-out; by cross-fitting where the space of the index was itself fitted, or where `groups` (N,)
        says which examples show one object. At most `most` examples are left out: by default 20,000, and fewer where
        there are very many. `held_out`, encoder vectors (n, dim) and label numbers (n,) of other pictures, takes the
        place of all that. `texts` (C, d), the label names in the space of the index, join as a voice where they help.
        `beside` (m, dim) are other vectors that the space of the index was fitted to.
        """
        gallery = index.gallery

        def recipe_for(label_ids: IntArray) -> Recipe:
            return open_recipe(config, label_ids, gallery.labels)

        recipe = recipe_for(gallery.label_ids)
        chosen = choose_metric(recipe, gallery)
        sample = sampled(len(index), gallery.labels, usually_left_out(len(index)) if most is None else most)
        search = NearestRows(gallery.units).search if len(index) >= SEARCH_FROM else None
        density = Density.of(gallery, sample, search)
        del search  # it holds a quarter of the matrix
        norms = lengths_in(chosen.metric, gallery) if is_folded(chosen.metric, gallery) else None
        units = gallery.units
        if held_out is not None:
            units = index.space.transform(held_out[0])
            white = whitened(chosen.metric, gallery, norms)
            heard = hear_others(recipe, chosen.metric, gallery, white, density.crowding, units, held_out[1])
        elif groups is None and (isinstance(index.space, IdentitySpace) or len(index) < 2):
            white = whitened(chosen.metric, gallery, norms)
            heard = hear_left_out(recipe, chosen, gallery, white, density, sample)
        else:
            folds = folds_of(gallery.label_ids) if groups is None else folds_of_groups(groups)
            judged = [(rows, np.intersect1d(rows, sample)) for rows in folds]
            heard = hear_held_out(recipe_for, chosen, index.space.recipe, index.vectors(), gallery, judged, beside)
        voices, left_out = fit_voices(recipe, chosen, heard, units[heard.rows], texts)
        own = left_out.log_probabilities[np.arange(len(left_out.own)), left_out.own]
        familiarity = Familiarity.fit(density.crowding, heard.signals)
        return cls(voices, familiarity, np.sort(np.exp(own)), norms=norms), left_out

    def state(self, contents: Contents, recipe: Recipe) -> Mapping[str, NDArray[Any]]:
        """The arrays to store with the index of `contents`."""
        thresholds = (self.confidence_threshold, self.keep_known)
        return {
            **self.voices.state(),
            **_below("familiarity.", self.familiarity.state()),
            "conformity": self.conformity,
            "thresholds": np.array([np.nan if one is None else one for one in thresholds]),
            "examples": example_digests(contents),
            "vectors": np.array([vectors_digest(contents)]),
            "labels": np.array(sorted(set(contents.labels)), dtype=np.str_),
            "recipe": np.array([recipe.name]),
            **({} if self.norms is None else {"norms": self.norms}),
            **({} if self.second_look is None else _below("second_look.", self.second_look.state())),
        }

    @classmethod
    def of(cls, contents: Contents, recipe: Recipe | None = None) -> Calibration | None:
        """Read the calibration of an index.

        None, with a warning, if it is damaged, of another rule than `recipe`, or of vectors or examples too different
        from those there now. Where a few examples changed since, it is carried over with a warning: `since` tells, and
        the crowding of new examples is NaN until `completed`.
        """
        state = contents.calibration
        if state is None:
            return None
        try:
            if str(state["vectors"][0]) != vectors_digest(contents):
                logger.warning("the calibration in the index is stale, its space or encoder changed: %s", _AGAIN)
                return None
            if recipe is not None and str(state["recipe"][0]) != recipe.name:
                logger.warning(
                    "the calibration in the index is of the rule '%s', not of '%s', and is not used: %s",
                    state["recipe"][0],
                    recipe.name,
                    _AGAIN,
                )
                return None
            since = Since.of(np.asarray(state["examples"], np.uint64), example_digests(contents))
            if since.is_much(len(contents.hashes)):
                logger.warning(
                    "the calibration in the index is stale, %s: %s", describe_changes(since, contents), _AGAIN
                )
                return None
            if since.changed:
                logger.warning(
                    "the calibration in the index is stale, %s: its thresholds are kept, but its promises are not of "
                    "these examples; %s",
                    describe_changes(since, contents),
                    _AGAIN,
                )
            return cls._restored(state, since, contents)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            logger.warning("the calibration in the index is damaged (%s): %s", error, _AGAIN)
            return None

    @classmethod
    def _restored(cls, state: Mapping[str, NDArray[Any]], since: Since, contents: Contents) -> Calibration:
        familiar = _above("familiarity.", state)
        crowding = np.asarray(familiar["crowding"], np.float64)
        if crowding.shape != state["examples"].shape or not np.isfinite(crowding).all():
            raise ValueError(f"crowding of {crowding.shape} examples, calibrated on {state['examples'].shape}")
        familiar["crowding"] = np.where(since.rows < 0, np.nan, crowding[since.rows])
        familiarity = Familiarity.restore(familiar, contents.manifest.count)
        conformity = np.asarray(state["conformity"], np.float64)
        if conformity.ndim != 1 or not ((conformity >= 0) & (conformity <= 1)).all():
            raise ValueError("conformity holds what is no probability")
        confidence, keep = (float(one) if np.isfinite(one) else None for one in state["thresholds"])
        second = _above("second_look.", state)
        second_look = SecondLook.restore(second) if second else None
        voices = FittedVoices.restore(state)
        if list(map(str, state["labels"])) != sorted(set(contents.labels)):
            voices = replace(voices, text=None)  # its rows are of other labels
        return cls(voices, familiarity, conformity, confidence, keep, second_look, _norms(state, since), since)

    def completed(self, gallery: Gallery, norms: NDArray[np.float64] | None = None) -> Calibration:
        """Fill in what is to be known of examples that have come since.

        Where no lengths in the metric were stored, `norms` (N,) may tell them, NaN for those it does not know.
        """
        crowding = with_crowding(self.familiarity.crowding, gallery)
        familiarity, metric = replace(self.familiarity, crowding=crowding), self.voices.metric
        if not is_folded(metric, gallery):
            return replace(self, familiarity=familiarity, norms=None)
        norms = lengths_in(metric, gallery, norms if self.norms is None else self.norms)
        return replace(self, familiarity=familiarity, norms=norms)


def _norms(state: Mapping[str, NDArray[Any]], since: Since) -> NDArray[np.float64] | None:
    """The lengths of the examples in the metric, NaN for those that came since; None where none were stored."""
    if "norms" not in state:
        return None
    norms = np.asarray(state["norms"], np.float64)
    if norms.shape != state["examples"].shape or not (np.isfinite(norms) & (norms >= 0)).all():
        logger.warning("the lengths stored with the calibration are damaged, and computed anew: %s", _AGAIN)
        return None
    return np.asarray(np.where(since.rows < 0, np.nan, norms[since.rows]))


def _above(prefix: str, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


def _below(prefix: str, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}{name}": array for name, array in state.items()}


def with_crowding(crowding: NDArray[np.float64], gallery: Gallery) -> NDArray[np.float64]:
    """Fill in what is NaN: 1 - mean similarity of an example to its nearest others, see `novelty.Density`."""
    missing, count = np.flatnonzero(np.isnan(crowding)), len(crowding)
    if not len(missing):
        return crowding
    if is_large(count):
        return np.where(np.isnan(crowding), by_label(crowding, gallery), crowding)
    filled, k = crowding.copy(), min(NEIGHBOURS, count - 1)
    size = max(min(_BLOCK, _MOST_AT_ONCE // count), 1)
    for start in range(0, len(missing), size):
        part = missing[start : start + size]
        near = gallery.units[part] @ gallery.units.T  # (b, N)
        near[np.arange(len(part)), part] = -np.inf
        near.partition(max(count - k, 0), axis=1)
        filled[part] = 1 - (near[:, count - k :].mean(axis=1) if k else 0)
    return filled
