"""When a person may stop: how many of the items that nobody decided would be right without anybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lmm_classifier.core.datatypes import DECIDE_THEMSELVES
from lmm_classifier.discovery.votes import Votes
from lmm_classifier.pipeline.flow import Flow

DEFAULT_TARGET = 0.95
_UNFAMILIAR = ("novel", "forced")


@dataclass(frozen=True)
class Stopping:
    """What happens to the undecided items if a person stops now.

    The scores are calibrated probabilities. So the mean score of the accepted items is their expected precision.
    """

    target: float  # precision, 0 to 1
    undecided: int  # items
    open: int  # of these, the ones that wait for a person
    deciding: int  # open ones that could be accepted in addition, best first, with the expected precision at the target
    items: tuple[int, ...]  # the ids of these
    precision: float | None  # expected, of the items that decide themselves and these together; None: there are none
    calibrated: bool  # whether the index has a calibration; without one the scores are rougher

    @property
    def share(self) -> float:
        """Return the fraction of the undecided items that decide themselves at the target, 0 to 1."""
        return (self.undecided - self.open + self.deciding) / self.undecided if self.undecided else 1.0

    @property
    def may_stop(self) -> bool:
        """Return whether no item needs a person: all the open ones can be accepted."""
        return self.deciding == self.open

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        values = {**asdict(self), "share": self.share, "may_stop": self.may_stop}
        del values["items"]
        return values


def stopping(flow: Flow, votes: Votes, items: Sequence[int], target: float | None = None) -> Stopping:
    """Tell how many of n items decide themselves.

    Args:
        flow: the version of the index that voted.
        votes: on the undecided items.
        items: the n ids of these.
        target: the precision to reach, 0 to 1; by default the one that the calibration was asked for, or 95%.
    """
    stored = flow.retriever.stored
    asked = stored.request.target_precision if stored is not None and stored.request is not None else None
    target = target if target is not None else asked if asked is not None else DEFAULT_TARGET
    ids = np.array(items, np.int64)
    reasons = np.array(votes.reasons, dtype=np.str_)
    is_open = ~np.isin(reasons, DECIDE_THEMSELVES)
    scores = votes.scores
    # an image unlike all examples is right under no label, whatever its score
    candidates = np.flatnonzero(is_open & ~np.isin(reasons, _UNFAMILIAR))
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    accepted = scores[~is_open]
    sums = accepted.sum() + np.concatenate([[0.0], np.cumsum(scores[candidates])])
    counts = len(accepted) + np.arange(len(candidates) + 1)
    reached = np.flatnonzero(sums >= target * counts - 1e-12)
    deciding = int(reached[-1]) if len(reached) else 0
    precision = float(sums[deciding] / counts[deciding]) if counts[deciding] else None
    items = tuple(ids[candidates[:deciding]].tolist())
    return Stopping(target, len(scores), int(is_open.sum()), deciding, items, precision, stored is not None)
