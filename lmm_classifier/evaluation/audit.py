"""A study of the corpus itself: which of its labels are likely wrong, and what else would mislead a classifier."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import LeftOut
from lmm_classifier.core.datatypes import Neighbor
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.metrics import wilson_interval
from lmm_classifier.core.protocols import IntArray
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig

_NEIGHBOURS = 5
_RARE = 0.01  # share of examples that count as outliers, at most
_OUTLYING = -2.5  # familiarity from which one may, in robust standard deviations
_THIN = 5  # examples under which a label is thin
_BLOCK = 1024
_PAIRS = 20
_MOST_PAIRS = 20_000_000_000  # examples judged times examples: all of 140,000


@dataclass(frozen=True, slots=True)
class SuspectLabel:
    """An example whose label the rest of the corpus doubts.

    `doubt` is the mean of 1 - p(own), counted twice, and p(suggested) - p(own), at most 1: probabilities that the other
    examples give it when it is left out. Only examples with p(suggested) > p(own) are suspects.
    """

    path: str
    label: str
    suggested: str
    doubt: float
    probability: float  # of the own label
    neighbors: tuple[Neighbor, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Examples of the same bytes (`exact`), or nearly the same picture; `similarity` is the least in the group."""

    paths: tuple[str, ...]
    labels: tuple[str, ...]
    exact: bool
    similarity: float

    @property
    def contradict(self) -> bool:
        """One picture under several labels."""
        return len(set(self.labels)) > 1


@dataclass(frozen=True, slots=True)
class Outlier:
    """An example that looks like nothing else in the corpus."""

    path: str
    label: str
    familiarity: float
    neighbors: tuple[Neighbor, ...]


@dataclass(frozen=True, slots=True)
class ConfusablePair:
    """Two labels that are taken for each other: how many left-out examples of the first went to the second."""

    label: str
    taken_for: str
    count: int
    share: float  # of the examples of the first


@dataclass(frozen=True)
class Audit:
    """Everything found, the most doubtful first; `ranking` gives the doubt of every example, by row."""

    examples: int
    left_out: int
    accuracy: float
    interval: tuple[float, float]
    suspects: list[SuspectLabel]
    duplicates: list[Duplicates]
    outliers: list[Outlier]
    thin: dict[str, int]
    confusable: list[ConfusablePair]
    ranking: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        found = asdict(self)
        del found["ranking"]
        for one, duplicate in zip(found["duplicates"], self.duplicates):
            one["contradict"] = duplicate.contradict
        return found


def audit(index: ExactIndex, config: RetrievalConfig, near: float = 0.98) -> Audit:
    """Judge every example by the others.

    Of more than 140,000 examples, or where examples times labels exceed 20 million, a sample is judged.

    Raises CalibrationError for a corpus in which nothing can be left out.
    """
    if len(index.label_names) < 2 or len(index) <= len(index.label_names):
        raise CalibrationError(
            f"the index holds {len(index)} pictures of {len(index.label_names)} labels; an audit needs two labels and "
            "more than one picture of some: add pictures and build it again"
        )
    calibration, left_out = Calibration.fit(config, index, most=max(_MOST_PAIRS // len(index), 1))
    doubts = _Doubts.of(left_out)
    familiarity = calibration.familiarity.of_signals(left_out.signals)
    right = int(left_out.right.sum())
    return Audit(
        examples=len(index),
        left_out=len(left_out.rows),
        accuracy=right / len(left_out.rows),
        interval=wilson_interval(right, len(left_out.rows)),
        suspects=list(_suspects(index, left_out, doubts)),
        duplicates=_duplicates(index, near),
        outliers=list(_outliers(index, left_out.rows, familiarity)),
        thin={name: int(count) for name, count in zip(index.label_names, index.gallery.counts) if count < _THIN},
        confusable=_confusable(index, left_out),
        ranking=dict(zip(left_out.rows.tolist(), doubts.doubt.tolist())),
    )


@dataclass(frozen=True)
class _Doubts:
    """For each left-out example (n,): doubt, the likeliest other label, and the probabilities of own and other."""

    doubt: NDArray[np.float64]
    other: IntArray
    p_own: NDArray[np.float64]
    p_other: NDArray[np.float64]

    @classmethod
    def of(cls, left_out: LeftOut) -> _Doubts:
        """Weigh what the others say.

        The neighbours, who are the last voice, count twice: once in the product and once alone. Of the two usual
        measures 1 - p(own) finds labels that are wrong at random, the margin those taken from the nearest label.
        """
        probabilities = (np.exp(left_out.log_probabilities) + np.exp(left_out.voices[-1])) / 2
        here = np.arange(len(left_out.rows))
        own = probabilities[here, left_out.own].copy()
        probabilities[here, left_out.own] = -1
        other = probabilities.argmax(axis=1)
        margin = probabilities[here, other] - own
        return cls((2 * (1 - own) + margin) / 3, other, own, probabilities[here, other])


def _suspects(index: ExactIndex, left_out: LeftOut, doubts: _Doubts) -> Iterator[SuspectLabel]:
    for place in np.argsort(-doubts.doubt, kind="stable"):
        row = int(left_out.rows[place])
        if doubts.p_other[place] <= doubts.p_own[place] or index.gallery.counts[left_out.own[place]] < 2:
            continue  # the only example of its label cannot be told by others
        yield SuspectLabel(
            index.examples[row].path,
            index.examples[row].label,
            index.label_names[int(doubts.other[place])],
            float(doubts.doubt[place]),
            float(doubts.p_own[place]),
            _neighbors(index, row),
        )


def _outliers(index: ExactIndex, rows: IntArray, familiarity: NDArray[np.float64]) -> Iterator[Outlier]:
    most = max(int(_RARE * len(rows)), 1)
    for place in np.argsort(familiarity, kind="stable")[:most]:
        if familiarity[place] < _OUTLYING:
            row = int(rows[place])
            yield Outlier(
                index.examples[row].path, index.examples[row].label, float(familiarity[place]), _neighbors(index, row)
            )


def _neighbors(index: ExactIndex, row: int) -> tuple[Neighbor, ...]:
    """The nearest examples of other bytes."""
    gallery = index.gallery
    same = index.rows_of_contents([index.hashes[row]])
    return tuple(index.neighbors(*gallery.compare(gallery.units[[row]], same).nearest(0, _NEIGHBOURS)))


def _duplicates(index: ExactIndex, near: float) -> list[Duplicates]:
    groups: dict[str, list[int]] = defaultdict(list)
    for row, content_hash in enumerate(index.hashes):
        groups[content_hash].append(row)
    exact = [_group(index, rows, True, 1.0) for rows in groups.values() if len(rows) > 1]
    firsts = np.array([rows[0] for rows in groups.values()], np.int64)
    pairs = _near_pairs(index, firsts, near)
    return sorted(exact + list(_joined(index, pairs)), key=lambda one: (not one.contradict, not one.exact, one.paths))


def _near_pairs(index: ExactIndex, rows: IntArray, near: float) -> list[tuple[int, int, float]]:
    units = index.gallery.units[rows]
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(rows), _BLOCK):
        cosines = units[start : start + _BLOCK] @ units.T
        for first, second in zip(*np.nonzero(cosines >= near)):
            if start + first < second:
                pairs.append((int(rows[start + first]), int(rows[second]), float(cosines[first, second])))
    return pairs


def _joined(index: ExactIndex, pairs: Sequence[tuple[int, int, float]]) -> Iterator[Duplicates]:
    """Chains of near pairs, each as one group."""
    leader: dict[int, int] = {}

    def lead(row: int) -> int:
        while leader.setdefault(row, row) != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    for first, second, _ in pairs:
        leader[lead(second)] = lead(first)
    members: dict[int, list[int]] = defaultdict(list)
    least: dict[int, float] = defaultdict(lambda: 1.0)
    for row in leader:
        members[lead(row)].append(row)
    for first, _, cosine in pairs:
        least[lead(first)] = min(least[lead(first)], cosine)
    for head, rows in members.items():
        yield _group(index, sorted(rows), False, min(least[head], 1.0))


def _group(index: ExactIndex, rows: Sequence[int], exact: bool, similarity: float) -> Duplicates:
    examples = [index.examples[row] for row in rows]
    return Duplicates(tuple(one.path for one in examples), tuple(one.label for one in examples), exact, similarity)


def _confusable(index: ExactIndex, left_out: LeftOut) -> list[ConfusablePair]:
    labels = len(index.label_names)
    answers = left_out.log_probabilities.argmax(axis=1)
    counts = np.bincount(left_out.own * labels + answers, minlength=labels * labels).reshape(labels, labels)
    totals = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_PAIRS]
    names = index.label_names
    return [
        ConfusablePair(names[own], names[other], int(counts[own, other]), float(counts[own, other] / totals[own]))
        for own, other in zip(*np.unravel_index(order, counts.shape))
        if counts[own, other] > 0
    ]
