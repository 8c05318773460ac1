"""Quality of `rule: auto` on photographs: accuracy, confidence, guarantees, unknown images and the audit.

Every figure comes from the program's own index and retriever. The rivals work on the same vectors: scikit-learn's
logistic regression and nearest neighbors, and cleanlab.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.quality_audit import flip_rows
from benchmarks.quality_data import (
    LabeledVectors,
    Task,
    encode_folder,
    few,
    index_of,
    predict,
    predict_baselines,
    split,
)
from benchmarks.rows import Better, Row, where, write_rows
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.guarantees.risk_control import RiskGuarantee, fixed_sequence_threshold
from lmm_classifier.core import metrics
from lmm_classifier.neighbors.config import RetrievalConfig

COMMAND = "python -m benchmarks.quality --data DATA --models MODELS"
GOALS = {"clothing": 88.0, "clothing, 16 per class": 77.5, "clothing, 4 per class": 67.5}  # accuracy in percent


def accuracy_rows(sets: dict[str, list[Task]]) -> Iterator[Row]:
    """Compare the accuracy of `auto` with kNN-5 and the trained classifier."""
    for name, tasks in sets.items():
        auto = 100 * np.mean([predict(task.dataset, task.new).correct.mean() for task in tasks])
        baselines = [predict_baselines(task.dataset, task.new) for task in tasks]
        knn = 100 * np.mean([baseline.knn_accuracy for baseline in baselines])
        trained = 100 * np.mean([baseline.trained_accuracy for baseline in baselines])
        goal = GOALS.get(name, round(float(trained if name == "trashnet" else knn), 1))
        runs = f"{len(tasks)} run{'s' if len(tasks) > 1 else ''}"
        against = f"kNN-5 {knn:.1f}, logistic regression {trained:.1f}; {runs}"
        yield _row(f"accuracy, {name}", float(auto), "%", goal, "higher", against)


def confidence_rows(sets: dict[str, list[Task]]) -> Iterator[Row]:
    """Compare the calibration error with that of perfectly calibrated classifiers, and AURC with that of kNN-5."""
    rng = np.random.default_rng(0)
    for name, tasks in sets.items():
        predictions = [predict(task.dataset, task.new) for task in tasks]
        error = 100 * np.mean([metrics.expected_calibration_error(p.confidence, p.correct) for p in predictions])
        perfect = [
            [
                metrics.expected_calibration_error(p.confidence, rng.random(len(p.confidence)) < p.confidence)
                for p in predictions
            ]
            for _ in range(400)
        ]
        limit = round(float(100 * np.quantile(np.mean(perfect, axis=1), 0.95)), 2)
        baselines = [predict_baselines(task.dataset, task.new) for task in tasks]
        knn = [(baseline.knn_confidence, baseline.knn_correct) for baseline in baselines]
        knn_error = 100 * np.mean([metrics.expected_calibration_error(*pair) for pair in knn])
        against = f"goal: 95 % of perfectly calibrated classifiers are below it; kNN-5 {knn_error:.1f}"
        yield _row(f"ECE, {name}", float(error), "%", limit, "lower", against)
        risk = 100 * np.mean([metrics.area_under_risk_coverage(p.confidence, p.correct) for p in predictions])
        knn_risk = 100 * np.mean([metrics.area_under_risk_coverage(*pair) for pair in knn])
        against = f"goal: half of kNN-5's {knn_risk:.2f}"
        yield _row(f"AURC x 100, {name}", float(risk), "", round(float(knn_risk) / 2, 2), "lower", against)


@dataclass(frozen=True)
class GuaranteeTrial:
    """A guarantee on the new images of one split."""

    coverage: float
    best_coverage: float  # with the best threshold for the new images
    above: bool  # more errors than the guaranteed rate
    violated: bool  # more errors than sampling explains


def guarantee_rows(name: str, images: LabeledVectors, runs: int = 20, delta: float = 0.1) -> Iterator[Row]:
    """Measure how often a guarantee is violated on new images beyond sampling error, and what it covers."""
    for risk in (0.05, 0.01):
        trials = [trial for seed in range(runs) if (trial := _try_guarantee(split(images, seed), risk, delta))]
        if not trials:
            full_name = f"guarantee {risk:.0%}, {name}: not possible"
            yield _row(full_name, runs, f"of {runs}", None, "lower", "too few examples")
            continue
        coverage, best = (
            100 * float(np.mean(values))
            for values in ([trial.coverage for trial in trials], [trial.best_coverage for trial in trials])
        )
        against = (
            f"coverage {coverage:.1f} %, best possible {best:.1f} %; above {risk:.0%} on the new images in "
            f"{sum(trial.above for trial in trials)} of {len(trials)} splits, not possible in {runs - len(trials)}"
        )
        value = 100 * sum(trial.violated for trial in trials) / len(trials)
        full_name = f"guarantee {risk:.0%}, {name}: violated beyond sampling error"
        yield _row(full_name, value, "%", 100 * delta, "lower", against)


def _try_guarantee(task: Task, risk: float, delta: float) -> GuaranteeTrial | None:
    """Fit a guarantee on the dataset, and judge it on the new images; None where none is possible."""
    held_out = fit_by_leave_one_out(RetrievalConfig(), [index_of(task.dataset)])[1]
    guarantee = fixed_sequence_threshold(held_out.confidence, held_out.correct, risk, delta)
    if not isinstance(guarantee, RiskGuarantee):
        return None
    predictions = predict(task.dataset, task.new)
    accepted = predictions.confidence >= guarantee.threshold
    errors = int((accepted & ~predictions.correct).sum())
    return GuaranteeTrial(
        float(accepted.mean()),
        metrics.coverage_at_risk(predictions.confidence, predictions.correct, risk),
        bool(errors > risk * accepted.sum()),
        errors > _error_limit(int(accepted.sum()), risk),
    )


def _error_limit(count: int, risk: float) -> float:
    """Return the errors that a true rate of `risk` exceeds in one of twenty samples."""
    from scipy.stats import binom

    return float(binom.ppf(0.95, count, risk)) if count else 0.0


def unknown_rows(name: str, task: Task, splits: list[tuple[str, ...]], goal: float | None) -> Iterator[Row]:
    """Leave labels out of the dataset, so that their images are unknown and similar to the known ones."""
    areas, plain_areas, false_positives = [], [], []
    for labels in splits:
        is_known = ~np.isin(task.new.labels, labels)
        predictions = predict(task.dataset.at(~np.isin(task.dataset.labels, labels)), task.new)
        familiarity, similarity = predictions.familiarity, predictions.similarity
        areas.append(100 * metrics.auroc(familiarity[is_known], familiarity[~is_known]))
        plain_areas.append(100 * metrics.auroc(similarity[is_known], similarity[~is_known]))
        false_positives.append(100 * metrics.fpr_at_tpr(familiarity[is_known], familiarity[~is_known]))
    gains = np.subtract(areas, plain_areas)
    first = f"first split ({', '.join(splits[0])}) {areas[0]:.1f}, max similarity {plain_areas[0]:.1f}"
    against = f"max similarity {np.mean(plain_areas):.1f}; {len(splits)} splits; {first}"
    worst = f"{int((gains < 0).sum())} of {len(gains)} splits below max similarity"
    prefix = f"near-OOD, {name}"
    yield _row(f"{prefix}: AUROC", float(np.mean(areas)), "", None, "higher", against)
    yield _row(f"{prefix}: FPR at 95% TPR", float(np.mean(false_positives)), "%", None, "lower", against)
    yield _row(f"{prefix}: gain over max similarity", float(gains.mean()), "points", goal, "higher", against)
    yield _row(f"{prefix}: gain of the worst split", float(gains.min()), "points", goal and 0, "higher", worst)


def keep_known_rows(name: str, tasks: list[Task]) -> Iterator[Row]:
    """Measure the percentage of new known images that `keep_known: 0.95` accepts."""
    percentages = []
    for task in tasks:
        predictions = predict(task.dataset, task.new)
        threshold = predictions.retriever.calibration.familiarity_threshold(0.95)
        percentages.append(100 * float((predictions.familiarity >= threshold).mean()))
    mean = float(np.mean(percentages))
    against = f"{mean:.1f} % of the known images are accepted"
    yield _row(f"keep_known 0.95, {name}: difference from 95%", abs(mean - 95), "points", 2, "lower", against)


def cost_rows() -> Iterator[Row]:
    """Measure seconds and memory of calibrating random vectors, for growing datasets."""
    rng = np.random.default_rng(0)
    for n in (5_000, 10_000, 20_000):
        centers = rng.normal(size=(100, 1152))
        labels = rng.integers(0, 100, n)
        vectors = (centers[labels] + 2 * rng.normal(size=(n, 1152))).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        index = index_of(LabeledVectors(vectors, np.char.add("label", labels.astype(str))))
        started = time.perf_counter()
        fit_by_leave_one_out(RetrievalConfig(), [index])
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        goals = (60.0, 4.0) if n == 20_000 else (None, None)
        size = f"{n:,} x 1152, 100 labels"
        yield _row(f"calibration time, {size}", seconds, "s", goals[0], "lower", "2 cores")
        memory = "the whole process, with the smaller datasets before"
        yield _row(f"calibration peak memory, {size}", peak, "GB", goals[1], "lower", memory)


def _row(name: str, value: float, unit: str, goal: float | None, better: Better, against: str) -> Row:
    return Row(name, round(value, 2), unit, goal, better, against, "", COMMAND)


def quality_parts(
    train: LabeledVectors, validation: LabeledVectors, trash: LabeledVectors
) -> list[Callable[[], Iterator[Row]]]:
    """Return the measurements, each a function that yields rows."""
    clothing = Task(train, validation)
    both = LabeledVectors(
        np.concatenate([train.vectors, validation.vectors]), np.concatenate([train.labels, validation.labels])
    )
    splits = [split(trash, seed) for seed in range(5)]
    sets = {
        "clothing": [clothing],
        "clothing, 16 per class": [few(clothing, 16, seed) for seed in range(5)],
        "clothing, 4 per class": [few(clothing, 4, seed) for seed in range(5)],
        "trashnet": splits,
        "trashnet, 16 per class": [few(task, 16, seed) for seed, task in enumerate(splits)],
        "trashnet, 4 per class": [few(task, 4, seed) for seed, task in enumerate(splits)],
    }
    rng = np.random.default_rng(0)
    names, trash_names = np.unique(train.labels), np.unique(trash.labels)
    triples = [("shirt", "shorts", "dress"), *(tuple(rng.choice(names, 3, replace=False)) for _ in range(9))]
    pairs = [(first, second) for place, first in enumerate(trash_names) for second in trash_names[place + 1 :]]
    return [
        lambda: accuracy_rows(sets),
        lambda: confidence_rows({name: sets[name] for name in ("clothing", "trashnet")}),
        lambda: guarantee_rows("clothing", both),
        lambda: guarantee_rows("trashnet", trash),
        lambda: unknown_rows("clothing", clothing, triples, 4.0),
        lambda: unknown_rows("trashnet", splits[0], [*pairs], None),
        lambda: keep_known_rows("clothing", [clothing, *(split(both, seed) for seed in range(4))]),
        lambda: keep_known_rows("trashnet", splits),
        lambda: flip_rows("clothing", train, COMMAND),
        lambda: flip_rows("trashnet", trash, COMMAND),
    ]


def main() -> None:
    """Measure everything and write benchmarks/results/quality.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/ and trashnet/")
    parser.add_argument("--models", type=Path, required=True, help="folder with mobilenet_v2/model.onnx")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        datasets = [
            encode_folder(arguments.data / name, arguments.models, Path(folder))
            for name in ("clothing/train", "clothing/validation", "trashnet")
        ]
    place = where("scikit-learn", "onnxruntime", "cleanlab")
    measured: list[Row] = []
    for part in (cost_rows, *quality_parts(*datasets)):
        for row in part():
            measured.append(replace(row, where=place))
            print(f"{row.name}: {row.value:g} {row.unit} (goal {row.goal}) {row.against}", flush=True)
    write_rows("quality", measured)


if __name__ == "__main__":
    main()
