"""How many images a hierarchy answers at some level, at a guarantee of 5 % wrong answers, and whether it is kept.

In each draw a fifth of the images is new, or all but 16 of each label. Thresholds come from the others, held out one by
one. A guarantee counts as broken where more of the answers of a level are wrong than a true rate of 5 % gives in 95 of
100 samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.discovery_data import labeled_vectors
from benchmarks.quality_data import LabeledVectors, Task, drawn_rows, index_of, split
from benchmarks.rows import Better, Row, where
from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.guarantees.outlook import guarantee_of
from lmm_classifier.calibration.guarantees.risk_control import NEVER, NoGuarantee
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit
from lmm_classifier.calibration.hierarchy.level_guarantees import guarantee_levels
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.discovery.hierarchy import propose_hierarchy
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderRetriever
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever

COMMAND = "python -m benchmarks.discovery --only hierarchy"
PRECISION, LEVEL, KEEP_KNOWN = 0.95, 0.9, 0.95
FIXED = 0.65  # of SpeciesNet's roll-up, for every level
DRAWS, QUICK_DRAWS = 20, 3
FEW = 16
_TOPS, _BOTTOMS = ("longsleeve", "outwear", "shirt", "t-shirt"), ("pants", "shorts", "skirt")
NATURAL = {  # labels that are not named stand at the root: dress, hat, shoes; trash
    "clothing": {**dict.fromkeys(_TOPS, ("tops",)), **dict.fromkeys(_BOTTOMS, ("bottoms",))},
    "trashnet": {
        **dict.fromkeys(("glass", "metal", "plastic"), ("containers",)),
        **dict.fromkeys(("cardboard", "paper"), ("fibers",)),
    },
}
THREE_LEVELS = {  # of labels and coarse labels: clothes for the body, of two kinds, and the others
    **dict.fromkeys(_TOPS, ("body", "tops")),
    **dict.fromkeys(_BOTTOMS, ("body", "bottoms")),
    "dress": ("body",),
    **dict.fromkeys(("hat", "shoes"), ("head and feet",)),
}


@dataclass(frozen=True)
class Fitted:
    """A rule fitted to a dataset, and its probabilities for n new images."""

    index: Index
    calibration: Calibration
    predictions: HeldOutPredictions
    probabilities: Float64Array  # (n, C)
    familiarity: Float64Array  # (n,)
    truth: Sequence[str]  # labels of the new images; some may be none of the index

    @classmethod
    def of(cls, dataset: LabeledVectors, new: LabeledVectors) -> Fitted:
        """Fit by leave-one-out, and score the new images."""
        index = index_of(dataset)
        calibration, predictions = fit_by_leave_one_out(RetrievalConfig(), [index])
        encoder = EncoderRetriever.open(RetrievalConfig(), index, calibration.fits[0], None, whole=False)
        retriever = Retriever((encoder,), calibration, None, 0)
        parts = [part for _, part in retriever.score_in_batches(QueryVectors.given(new.vectors))]
        return cls(
            index,
            calibration,
            predictions,
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.familiarity for part in parts]),
            list(map(str, new.labels)),
        )

    @property
    def leaf(self) -> tuple[Float64Array, BoolArray]:
        """Return the probability of the best label of each new image, and whether it is right, (n,)."""
        best = np.array(self.index.label_names)[self.probabilities.argmax(axis=1)]
        return self.probabilities.max(axis=1), best == np.array(self.truth)


@dataclass(frozen=True)
class Answers:
    """The level (0: a label) at which each of n new images is answered, -1 for none, and whether that is right."""

    level: IntArray  # (n,)
    correct: BoolArray  # (n,)

    def share(self, level: int | None = None) -> float:
        """Return the percentage that a level answers; None: any level."""
        return 100 * float((self.level >= 0 if level is None else self.level == level).mean())

    def wrong(self, level: int | None = None) -> float:
        """Return the percentage of these answers that are wrong, 0 where there are none."""
        rows = self.level >= 0 if level is None else self.level == level
        return 100 * float((~self.correct)[rows].mean()) if rows.any() else 0.0

    @property
    def is_broken(self) -> bool:
        """Return whether a level has more wrong answers than 5 % gives in 95 of 100 samples."""
        from scipy.stats import binom

        each = [self.level == level for level in range(self.level.max(initial=-1) + 1)]
        return any(int((~self.correct)[rows].sum()) > float(binom.ppf(0.95, rows.sum(), 0.05)) for rows in each)


def answers(fitted: Fitted, hierarchy: LabelHierarchy | None, truth: LabelHierarchy | None = None) -> Answers:
    """Answer new images with a guarantee for each level; None: labels alone. `truth` knows labels of new images."""
    names = fitted.index.label_names
    fit = HierarchyFit.of(hierarchy, fitted.predictions, names)
    found = guarantee_levels(fitted.calibration.held_out, fit, PRECISION, LEVEL)
    thresholds = found.thresholds if fit else {}
    return _answered(fitted, found.threshold, hierarchy, thresholds, truth)


def fixed_answers(fitted: Fitted, hierarchy: LabelHierarchy) -> Answers:
    """Answer new images with one fixed threshold for all levels, as SpeciesNet does."""
    return _answered(fitted, FIXED, hierarchy, dict.fromkeys(range(1, hierarchy.height + 1), FIXED))


def _answered(
    fitted: Fitted,
    threshold: float,
    hierarchy: LabelHierarchy | None,
    thresholds: dict[int, float],
    truth: LabelHierarchy | None = None,
) -> Answers:
    confidence, correct = fitted.leaf
    level = np.where(confidence >= threshold, 0, -1)
    names = fitted.index.label_names
    own = hierarchy.of_labels(names) if hierarchy else None
    for number, cut in enumerate(own.levels(names) if own else (), start=1):
        best, probability = cut.best(fitted.probabilities)
        rows = (level < 0) & (best >= 0) & (probability >= thresholds.get(cut.depth, NEVER))
        ways = [(truth or hierarchy).path(label) for label in fitted.truth]  # type: ignore[union-attr]
        level[rows] = number
        correct[rows] = [cut.names[best[row]] in ways[row] for row in np.flatnonzero(rows)]
    return Answers(level, correct)


def drawn(name: str, seed: int, few: bool) -> Task:
    """Draw the images of a dataset and the new ones."""
    images = labeled_vectors(name)
    if not few:
        return split(images, seed)
    rows = drawn_rows(images.labels, FEW, seed)
    return Task(images.at(rows), images.at(np.setdiff1d(np.arange(len(images.labels)), rows)))


def shuffled(hierarchy: LabelHierarchy, names: Sequence[str], seed: int) -> LabelHierarchy:
    """Return a hierarchy of the same shape with the labels in other places, at random."""
    whole = hierarchy.of_labels(names)
    others = np.random.default_rng((seed, 7)).permutation(np.array(names)).tolist()
    return LabelHierarchy({other: whole.above[label] for other, label in zip(others, names, strict=True)})


def rows(quick: bool) -> list[Row]:
    """Measure both datasets, whole and with 16 images of each label, and images of labels that are left out."""
    draws = QUICK_DRAWS if quick else DRAWS
    found = list[Row]()
    for name in NATURAL:
        for few in (False, True):
            fitted = [Fitted.of(task.dataset, task.new) for seed in range(draws) for task in [drawn(name, seed, few)]]
            found += _of_dataset(name, few, fitted)
        found += _left_out(name, draws)
    return found


def _of_dataset(name: str, few: bool, fitted: Sequence[Fitted]) -> list[Row]:
    natural = LabelHierarchy(NATURAL[name])
    data = f"{name}, {f'{FEW} a label' if few else '80 % of the images'}, {len(fitted)} draws"
    parts = len({natural.above.get(label, (label,))[0] for label in fitted[0].index.label_names})
    trees: dict[str, Callable[[Fitted, int], LabelHierarchy]] = {
        "natural hierarchy": lambda *_: natural,
        "proposed hierarchy": lambda draw, _: propose_hierarchy([draw.index], [parts]),
        "random hierarchy": lambda draw, seed: shuffled(natural, draw.index.label_names, seed),
    }
    if name == "clothing":
        trees["hierarchy of three levels"] = lambda *_: LabelHierarchy(THREE_LEVELS)
    alone = [_alone(draw) for draw in fitted]
    found = [
        _row(f"answered by labels alone, {data}", [each.share() for each in alone], "%"),
        _row(f"wrong among these, {data}", [each.wrong() for each in alone], "%", better="lower"),
    ]
    for tree, make in trees.items():
        each = [answers(draw, make(draw, seed)) for seed, draw in enumerate(fitted)]
        is_main = tree in ("natural hierarchy", "proposed hierarchy") and not few
        gains = [of.share() - before.share() for of, before in zip(each, alone)]
        broken, above = [100.0 * of.is_broken for of in each], [100.0 * (of.wrong() > 5) for of in each]
        found += [
            _row(f"answered at some level, {tree}, {data}", [of.share() for of in each], "%"),
            _row(f"more than labels alone, {tree}, {data}", gains, "points", 12.0 if is_main else None),
            _row(f"wrong at some level, {tree}, {data}", [of.wrong() for of in each], "%", 5.0, "lower"),
            _row(f"wrong coarse answers, {tree}, {data}", _coarse_wrong(each), "%", 5.0, "lower"),
            _row(f"draws that break a guarantee, {tree}, {data}", broken, "%", 10.0, "lower"),
            _row(f"draws with more than 5 % wrong, {tree}, {data}", above, "%", 10.0, "lower"),
        ]
    fixed, tree = [fixed_answers(draw, natural) for draw in fitted], f"fixed {FIXED}, natural hierarchy, {data}"
    return [
        *found,
        _row(f"answered at some level, {tree}", [of.share() for of in fixed], "%"),
        _row(f"wrong coarse answers, {tree}", _coarse_wrong(fixed), "%", better="lower"),
        _row(f"draws that break 5 %, {tree}", [100.0 * of.is_broken for of in fixed], "%", better="lower"),
    ]


def _alone(fitted: Fitted) -> Answers:
    """Answer by labels alone, with the whole delta for their one guarantee."""
    found = guarantee_of(fitted.calibration.held_out, PRECISION, LEVEL)
    return _answered(fitted, NEVER if isinstance(found, NoGuarantee) else found.threshold, None, {})


def _coarse_wrong(each: Sequence[Answers]) -> list[float]:
    """Return the percentage of wrong coarse answers of each draw that has any."""
    shares = [100 * float((~of.correct)[of.level > 0].mean()) for of in each if (of.level > 0).any()]
    return shares or [0.0]


def _left_out(name: str, draws: int) -> list[Row]:
    """Leave out one label that has siblings, or all labels below a coarse one, and answer their new images."""
    natural = LabelHierarchy(NATURAL[name])
    kinds = {
        "a label that is left out": [[label] for label in natural.above],
        "a coarse label that is left out": [natural.labels_below(coarse) for coarse in sorted(natural.coarse_labels)],
    }
    found = list[Row]()
    for kind, choices in kinds.items():
        figures = [_unknowns(name, choices[seed % len(choices)], natural, seed) for seed in range(draws)]
        for what in figures[0]:
            values = [figure[what] for figure in figures]
            better: Better = "lower" if what.startswith("wrong") else "higher"
            found.append(_row(f"{what}, new images of {kind}, {name}, {draws} draws", values, "%", better=better))
    return found


def _unknowns(name: str, labels: Sequence[str], natural: LabelHierarchy, seed: int) -> dict[str, float]:
    """Return what new images of labels without examples are answered with, in percent of these images."""
    task = split(labeled_vectors(name), seed)
    is_known, is_new = ~np.isin(task.dataset.labels, labels), np.isin(task.new.labels, labels)
    fitted = Fitted.of(task.dataset.at(is_known), task.new.at(is_new))
    given = answers(fitted, natural, natural)
    novel = fitted.familiarity < fitted.calibration.familiarity_threshold(KEEP_KNOWN)
    coarse = given.level > 0
    of_each = {
        "called unknown": novel,
        "wrong label": ~novel & (given.level == 0),
        "right coarse label": ~novel & coarse & given.correct,
        "wrong coarse label": ~novel & coarse & ~given.correct,
        "right coarse label if novel images had one": novel & coarse & given.correct,
        "wrong coarse label if novel images had one": novel & coarse & ~given.correct,
    }
    return {what: 100 * float(flags.mean()) for what, flags in of_each.items()}


def _row(name: str, values: Sequence[float], unit: str, goal: float | None = None, better: Better = "higher") -> Row:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    against = f"vectors of lite; standard error {error:.1f}"
    spread = f"{min(values):.1f} to {max(values):.1f}"
    return Row(name, round(float(np.mean(values)), 1), unit, goal, better, against, where(), COMMAND, spread)
