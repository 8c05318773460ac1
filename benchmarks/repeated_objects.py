"""Datasets of several views of the same objects: whether they are noticed, and whether a guarantee holds with the help
of unlabeled new images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.quality_data import LabeledVectors, index_of
from benchmarks.repeated_objects_data import PATTERNS, VIEWS, ObjectViews, encoded
from benchmarks.rows import Row, where, write_rows
from lmm_classifier.calibration.fit import Fit, fit_by_groups, fit_by_leave_one_out
from lmm_classifier.calibration.grouping import match_query_distance
from lmm_classifier.calibration.guarantees.outlook import guarantee_of
from lmm_classifier.calibration.guarantees.risk_control import RiskGuarantee
from lmm_classifier.calibration.repeated_objects import RepeatedObjects
from lmm_classifier.core.arrays import BoolArray, Float64Array
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import gallery_in_metric

COMMAND = "python -m benchmarks.repeated_objects --data DATA --cache CACHE"
DRAWS = 10
PLAIN = (9, 12, 20, 40)  # independent images per label
OBJECTS = 20  # per label, for the alarms
REPEATS = {"2": 2, "3": 3, "5": 5, "8": 8, "1 to 8": None}  # views of each object
ALL, FEW = 1000, 40  # photographs per label
GUARANTEED = {"clothing": 50, "trashnet": 90, "patterns": 6}  # objects per label
TARGET, NEW = 50, 700  # unlabeled new images, and labeled ones that check the guarantee; each of another object
RISK, LEVEL, KEEP = 0.05, 0.9, 0.95
ONE_BY_ONE = 3  # draws that are also calibrated one by one


def alarms(name: str, views: ObjectViews) -> Iterator[Row]:
    """Count the alarms on independent images, and on objects with several views."""
    rng, plain = np.random.default_rng(0), list[float]()
    for per_label in PLAIN:
        for _ in range(DRAWS):
            objects, _others = views.drawn(per_label, rng)
            plain.append(_highest(views.one_of_each(objects, rng)))
    yield _alarms(f"repeated objects: false alarms, {name}", plain, f"independent images, {PLAIN} per label", 0)
    for count, fixed in REPEATS.items():
        found = []
        for _ in range(DRAWS):
            objects, _others = views.drawn(OBJECTS, rng)
            of_each = rng.integers(1, VIEWS + 1, len(objects)) if fixed is None else np.full(len(objects), fixed)
            found.append(_highest(views.of(objects, of_each)[0]))
        yield _alarms(f"repeated objects: {count} views each, {name}", found, f"{OBJECTS} objects per label", DRAWS)


def _highest(images: LabeledVectors) -> float:
    names, label_ids = np.unique(images.labels, return_inverse=True)
    return RepeatedObjects.of(Gallery(images.vectors, label_ids.astype(np.int64), len(names))).highest


def _alarms(name: str, contrasts: list[float], data: str, goal: int) -> Row:
    count = sum(contrast > 1 for contrast in contrasts)
    against = f"{data}; contrast {min(contrasts):.2f} to {max(contrasts):.2f}"
    better = "higher" if goal else "lower"
    return Row(name, count, f"of {len(contrasts)}", goal, better, against, where("onnxruntime"), COMMAND)


@dataclass(frozen=True)
class Kept:
    """What a guarantee of a calibration was worth for new images of new objects, in percent."""

    estimate: float  # accuracy of the held-out examples
    accuracy: float
    coverage: float
    wrong: float
    best: float  # coverage of the threshold that knows the answers

    @classmethod
    def of(cls, index: Index, fit: Fit, new: LabeledVectors) -> Kept:
        """Accept what is confident and familiar."""
        calibration = fit[0]
        confidence, familiarity, answers = _predict(index, fit, new)
        correct = answers == new.labels
        guarantee = guarantee_of(calibration.held_out, 1 - RISK, LEVEL)
        accepted: BoolArray = np.zeros(len(correct), bool)
        if isinstance(guarantee, RiskGuarantee):
            accepted = confidence >= guarantee.threshold
            accepted &= familiarity >= calibration.familiarity_threshold(KEEP)
        wrong = 100 * float((~correct[accepted]).mean()) if accepted.any() else 0.0
        errors = np.cumsum(~correct[np.argsort(-confidence, kind="stable")]) / np.arange(1, len(correct) + 1)
        best = 100 * max(np.flatnonzero(errors <= RISK) + 1, default=0) / len(correct)
        return cls(
            100 * calibration.held_out.accuracy,
            100 * float(correct.mean()),
            100 * float(accepted.mean()),
            wrong,
            float(best),
        )


def _predict(index: Index, fit: Fit, new: LabeledVectors) -> tuple[Float64Array, Float64Array, np.ndarray]:
    (encoder_fit,), stage = fit[0].fits, fit[0].cascade.stages[-1]
    rule, gallery = encoder_fit.rule, index.gallery
    in_metric = gallery_in_metric(rule.metric, gallery, encoder_fit.norms)
    plain = gallery.compare(new.vectors)
    mapped = in_metric.compare(rule.metric.whiten(plain.embeddings))
    scores = rule.scores(plain, mapped, plain.embeddings) / rule.temperature
    probabilities = np.exp(stage.fusion.log_probabilities([scores - np.logaddexp.reduce(scores, axis=1)[:, None]]))
    familiarity = encoder_fit.familiarity.of(plain, mapped)
    return probabilities.max(axis=1), familiarity, np.array(index.label_names)[probabilities.argmax(axis=1)]


def guarantees(name: str, views: ObjectViews, per_label: int) -> Iterator[Row]:
    """Calibrate with 50 unlabeled images of new objects, and count how often the guarantee holds for others."""
    config, matched, alone = RetrievalConfig(), list[Kept](), list[Kept]()
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        objects, others = views.drawn(per_label, rng)
        dataset, _ = views.of(objects, np.full(len(objects), VIEWS))
        target, new = views.one_of_each(others[:TARGET], rng), views.one_of_each(others[TARGET : TARGET + NEW], rng)
        index = index_of(dataset)
        clusters = match_query_distance(index.gallery, target.vectors)
        matched.append(Kept.of(index, fit_by_groups(config, [index], clusters), new))
        if seed < ONE_BY_ONE:
            alone.append(Kept.of(index, fit_by_leave_one_out(config, [index]), new))
        print(name, seed, len(np.unique(objects)), len(np.unique(clusters)), matched[-1], alone[-1], flush=True)
    kept = sum(one.wrong <= 100 * RISK for one in matched)
    setting = f"{per_label} objects per label, {VIEWS} views each, {TARGET} unlabeled new images"
    figures = (
        f"{_mean(matched, 'wrong'):.1f} % wrong on average; accuracy {_mean(matched, 'accuracy'):.1f} %, estimated "
        f"{_mean(matched, 'estimate'):.1f}; one by one ({ONE_BY_ONE} draws) {_mean(alone, 'wrong'):.1f} % wrong, "
        f"estimated accuracy {_mean(alone, 'estimate'):.1f} %"
    )
    machine = where("onnxruntime")
    title = f"repeated objects: guarantee of 5 %, {name}"
    yield Row(f"{title}: kept", kept, f"of {DRAWS}", 9, "higher", f"{setting}; {figures}", machine, COMMAND)
    coverage, best = _mean(matched, "coverage"), _mean(matched, "best")
    refused = sum(one.coverage == 0 for one in matched)
    against = (
        f"{coverage:.1f} % accepted, and {best:.1f} % by the threshold that knows the answers; refused in {refused} of "
        f"{DRAWS} draws"
    )
    fraction = round(100 * coverage / best, 1)
    yield Row(f"{title}: coverage of the best possible", fraction, "%", 50, "higher", against, machine, COMMAND)


def _mean(kept: list[Kept], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in kept]))


def measure(data: Path, cache: Path) -> Iterator[Row]:
    """Yield the rows of every dataset and encoder."""
    sources = {"clothing": data / "clothing" / "train", "trashnet": data / "trashnet", "patterns": None}
    for name, source in sources.items():
        for encoder, most in (("lite", ALL if source else PATTERNS), ("descriptor", FEW)):
            views = encoded(name, source, encoder, most, cache)
            yield from alarms(f"{name}, {encoder}", views)
            if encoder == "lite":
                yield from guarantees(name, views, GUARANTEED[name])


def main() -> None:
    """Measure, print and store the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the vectors of all views")
    arguments = parser.parse_args()
    write_rows("repeated_objects", list(measure(arguments.data, arguments.cache)))


if __name__ == "__main__":
    main()
