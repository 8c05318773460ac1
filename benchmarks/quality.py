"""Quality of `rule: auto`: accuracy, confidence, promises, unknowns and the audit, on real photographs.

Every figure comes from the program's own index and retriever; scikit-learn's logistic regression and nearest
neighbours, and cleanlab, are the rivals on the same vectors.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import mobilenet
from benchmarks.rows import Row, where, write_rows
from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.risk_control import Promise, promise_by_chains
from lmm_classifier.core import metrics
from lmm_classifier.core.numerics import log_shares
from lmm_classifier.embeddings.whitening import IdentitySpace
from lmm_classifier.evaluation.audit import audit
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retriever import Retriever
from lmm_classifier.testing import some_fingerprint

COMMAND = "python -m benchmarks.quality --data DATA --models MODELS"
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pictures:
    """Encoder vectors (N, d) and labels (N,) of a folder."""

    vectors: NDArray[np.float32]
    labels: NDArray[np.str_]

    def at(self, rows: Any) -> Pictures:
        """Only these rows."""
        return Pictures(self.vectors[rows], self.labels[rows])


@dataclass(frozen=True)
class Task:
    """A corpus, and new pictures of the same labels."""

    corpus: Pictures
    new: Pictures


def encoded(folder: Path, models: Path, work: Path) -> Pictures:
    """Encode a labelled folder through the program's own index."""
    output = work / f"{folder.name}-{len(list(work.iterdir()))}.npz"
    place = work / f"model-{output.stem}"
    place.mkdir()
    build_index_from_directory(folder, output, config=mobilenet(models, place))
    index = ExactIndex.open(output)
    return Pictures(index.vectors(), np.array([example.label for example in index.examples]))


def index_of(pictures: Pictures, labels: NDArray[np.str_] | None = None) -> ExactIndex:
    """An index of these vectors, in memory."""
    given = pictures.labels if labels is None else labels
    n, dim = pictures.vectors.shape
    manifest = Manifest(some_fingerprint(dim), "identity", n, "corpus", "", "")
    hashes = [f"{number:064x}" for number in range(n)]
    contents = Contents(manifest, list(map(str, given)), hashes, hashes, {}, lambda: [pictures.vectors])
    return ExactIndex(contents, IdentitySpace(), pictures.vectors)


@dataclass(frozen=True)
class Answers:
    """What a retriever says of new pictures."""

    confidence: Doubles
    right: NDArray[np.bool_]
    familiarity: Doubles
    similarity: Doubles
    retriever: Retriever


def answers(corpus: Pictures, new: Pictures, config: RetrievalConfig | None = None) -> Answers:
    """Ask the retriever of the index of `corpus`."""
    index = index_of(corpus)
    retriever = Retriever(config or RetrievalConfig(), index)
    parts = [retriever.votes(new.vectors[start : start + 256]) for start in range(0, len(new.vectors), 256)]
    shares = np.exp(log_shares(np.concatenate([part.scores for part in parts]) / retriever.temperature))
    given = np.array(index.label_names)[shares.argmax(axis=1)]
    return Answers(
        shares.max(axis=1),
        given == new.labels,
        np.concatenate([part.familiarity for part in parts]),
        np.concatenate([part.comparison.top_mean(1).max(axis=1) for part in parts]),
        retriever,
    )


def rivals(corpus: Pictures, new: Pictures) -> tuple[float, float, Doubles, NDArray[np.bool_]]:
    """Accuracy of kNN-5 and of a trained logistic regression, and kNN-5's confidence and right answers."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    knn = KNeighborsClassifier(min(5, len(corpus.labels)), metric="cosine").fit(corpus.vectors, corpus.labels)
    right = knn.predict(new.vectors) == new.labels
    # the usual linear probe: standardised features, the default strength
    mean, spread = corpus.vectors.mean(axis=0), corpus.vectors.std(axis=0) + 1e-6
    probe = LogisticRegression(max_iter=300).fit((corpus.vectors - mean) / spread, corpus.labels)
    trained = float((probe.predict((new.vectors - mean) / spread) == new.labels).mean())
    plain = LogisticRegression(C=100, max_iter=300).fit(corpus.vectors, corpus.labels)
    trained = max(trained, float((plain.predict(new.vectors) == new.labels).mean()))
    return float(right.mean()), trained, knn.predict_proba(new.vectors).max(axis=1), right


def split(pictures: Pictures, seed: int, share: float = 0.2) -> Task:
    """Part each label at random, `share` of it new."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(pictures.labels), bool)
    for label in np.unique(pictures.labels):
        rows = rng.permutation(np.flatnonzero(pictures.labels == label))
        chosen[rows[: round(share * len(rows))]] = True
    return Task(pictures.at(~chosen), pictures.at(chosen))


def few(task: Task, count: int, seed: int) -> Task:
    """Keep `count` examples per label."""
    rng = np.random.default_rng(seed)
    labels = task.corpus.labels
    rows = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return Task(task.corpus.at(np.sort(np.concatenate(rows))), task.new)


def accuracy_rows(sets: dict[str, list[Task]], goals: dict[str, float]) -> Iterator[Row]:
    """`auto` against kNN-5 and the trained classifier."""
    for name, tasks in sets.items():
        auto = 100 * np.mean([answers(task.corpus, task.new).right.mean() for task in tasks])
        knn, trained = (100 * np.mean(one) for one in zip(*(rivals(task.corpus, task.new)[:2] for task in tasks)))
        goal = goals.get(name, round(float(trained if name == "trashnet" else knn), 1))
        said = f"kNN-5 {knn:.1f}, logistic regression {trained:.1f}; {len(tasks)} run{'s' if len(tasks) > 1 else ''}"
        yield _row(f"accuracy, {name}", float(auto), "%", goal, "higher", said)


def confidence_rows(sets: dict[str, list[Task]]) -> Iterator[Row]:
    """Calibration error within the band of a perfectly calibrated classifier, and risk over coverage."""
    rng = np.random.default_rng(0)
    for name, tasks in sets.items():
        found = [answers(task.corpus, task.new) for task in tasks]
        errors = 100 * np.mean([metrics.expected_calibration_error(one.confidence, one.right) for one in found])
        perfect = [
            [
                metrics.expected_calibration_error(one.confidence, rng.random(len(one.confidence)) < one.confidence)
                for one in found
            ]
            for _ in range(400)
        ]
        band = float(100 * np.quantile(np.mean(perfect, axis=1), 0.95))
        others = [rivals(task.corpus, task.new)[2:] for task in tasks]
        knn_error = 100 * np.mean([metrics.expected_calibration_error(*one) for one in others])
        said = f"95 % of perfectly calibrated ones stay below the goal; kNN-5 {knn_error:.1f}"
        yield _row(f"ECE, {name}", float(errors), "%", round(band, 2), "lower", said)
        risk = 100 * np.mean([metrics.area_under_risk_coverage(one.confidence, one.right) for one in found])
        knn = 100 * np.mean([metrics.area_under_risk_coverage(*one) for one in others])
        yield _row(
            f"AURC x 100, {name}", float(risk), "", round(float(knn) / 2, 2), "lower", f"half of kNN-5's {knn:.2f}"
        )


def promise_rows(name: str, pictures: Pictures, runs: int = 20, delta: float = 0.1) -> Iterator[Row]:
    """How often a promise is broken on new pictures beyond sampling error, and what it covers."""
    for risk in (0.05, 0.01):
        broken, significant, refused, coverage, best = 0, 0, 0, [], []
        for seed in range(runs):
            task = split(pictures, seed)
            index = index_of(task.corpus)
            left_out = Calibration.fit(RetrievalConfig(), index)[1]
            made = promise_by_chains(left_out.confidence, left_out.right, risk, delta)
            if not isinstance(made, Promise):
                refused += 1
                continue
            found = answers(task.corpus, task.new)
            answered = found.confidence >= made.threshold
            wrong = int((answered & ~found.right).sum())
            broken += wrong > risk * answered.sum()
            significant += wrong > _binomial_limit(int(answered.sum()), risk)
            coverage.append(answered.mean())
            best.append(metrics.coverage_at_risk(found.confidence, found.right, risk))
        if not coverage:
            yield _row(
                f"promise {risk:.0%} kept, {name}: refused", refused, f"of {runs}", None, "lower", "too few examples"
            )
            continue
        said = (
            f"covers {100 * np.mean(coverage):.1f} %, best in hindsight {100 * np.mean(best):.1f} %; "
            f"above {risk:.0%} on the new pictures in {broken} of {runs - refused} splits, {refused} refused"
        )
        limit = 100 * delta
        value = 100 * significant / (runs - refused)
        yield _row(f"promise {risk:.0%}, {name}: broken beyond sampling error", value, "%", limit, "lower", said)


def _binomial_limit(count: int, risk: float) -> float:
    """Errors that a true rate of `risk` exceeds in one of twenty samples."""
    from scipy.stats import binom

    return float(binom.ppf(0.95, count, risk)) if count else 0.0


def unknown_rows(name: str, task: Task, held: list[tuple[str, ...]], goal: float | None) -> Iterator[Row]:
    """Labels left out of the corpus as strangers that look like the known."""
    gains, areas, passed, plain = [], [], [], []
    for labels in held:
        known = ~np.isin(task.new.labels, labels)
        found = answers(task.corpus.at(~np.isin(task.corpus.labels, labels)), task.new)
        areas.append(100 * metrics.auroc(found.familiarity[known], found.familiarity[~known]))
        plain.append(100 * metrics.auroc(found.similarity[known], found.similarity[~known]))
        passed.append(100 * metrics.false_positives_at(found.familiarity[known], found.familiarity[~known]))
        gains.append(areas[-1] - plain[-1])
    first = f"{', '.join(held[0])} first: {areas[0]:.1f} : {plain[0]:.1f}"
    said = f"max similarity {np.mean(plain):.1f}; {len(held)} splits, {first}"
    yield _row(f"near unknowns, {name}: AUROC", float(np.mean(areas)), "", None, "higher", said)
    yield _row(f"near unknowns, {name}: FPR at 95 % kept", float(np.mean(passed)), "%", None, "lower", said)
    yield _row(
        f"near unknowns, {name}: gain over max similarity", float(np.mean(gains)), "points", goal, "higher", said
    )
    worst = f"{int(np.sum(np.array(gains) < 0))} of {len(gains)} splits below max similarity"
    yield _row(
        f"near unknowns, {name}: worst split's gain", float(np.min(gains)), "points", goal and 0, "higher", worst
    )


def kept_rows(name: str, tasks: list[Task]) -> Iterator[Row]:
    """The share of new known pictures that `keep_known: 0.95` keeps."""
    kept = []
    for task in tasks:
        found = answers(task.corpus, task.new)
        kept.append(100 * float((found.familiarity >= found.retriever.open_set_threshold).mean()))
    off = abs(float(np.mean(kept)) - 95)
    yield _row(f"keep_known 0.95, {name}: off by", off, "points", 2, "lower", f"keeps {np.mean(kept):.1f} %")


def flip_rows(name: str, pictures: Pictures, seeds: int = 5) -> Iterator[Row]:
    """Planted label flips found: average precision against cleanlab on kNN-10 probabilities."""
    from cleanlab.rank import get_label_quality_scores
    from sklearn.neighbors import KNeighborsClassifier

    names = np.unique(pictures.labels)
    true = np.searchsorted(names, pictures.labels)
    means = np.stack([pictures.vectors[true == label].mean(axis=0) for label in range(len(names))])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    for kind in ("uniform", "nearest label"):
        ours, theirs = [], []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            flipped = np.zeros(len(true), bool)
            flipped[rng.choice(len(true), round(0.05 * len(true)), replace=False)] = True
            towards = pictures.vectors @ means.T
            towards[np.arange(len(true)), true] = -np.inf
            other = towards.argmax(axis=1)
            if kind == "uniform":
                other = (true + rng.integers(1, len(names), len(true))) % len(names)
            given = np.where(flipped, other, true)
            ranking = audit(index_of(pictures, names[given]), RetrievalConfig(), near=1.0).ranking
            ours.append(metrics.average_precision(np.array([ranking[row] for row in range(len(true))]), flipped))
            knn = KNeighborsClassifier(11, metric="cosine").fit(pictures.vectors, given)
            near = knn.kneighbors(return_distance=False)[:, :10]  # without itself
            shares = np.stack([(given[near] == label).mean(axis=1) for label in range(len(names))], axis=1)
            scores = [
                metrics.average_precision(-get_label_quality_scores(given, shares, method=method), flipped)
                for method in ("self_confidence", "normalized_margin")
            ]
            theirs.append(max(scores))
        said = f"cleanlab's better score on kNN-10 {100 * np.mean(theirs):.1f}; 5 % flipped, {seeds} seeds"
        goal = round(100 * float(np.mean(theirs)) + 10, 1)
        yield _row(
            f"audit, {name}, flips {kind}: average precision", 100 * float(np.mean(ours)), "%", goal, "higher", said
        )


def cost_rows() -> Iterator[Row]:
    """Seconds and memory of calibrating made vectors, and how they grow."""
    rng = np.random.default_rng(0)
    for n in (5_000, 10_000, 20_000):
        centres = rng.normal(size=(100, 1152))
        labels = rng.integers(0, 100, n)
        vectors = (centres[labels] + 2 * rng.normal(size=(n, 1152))).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        index = index_of(Pictures(vectors, np.char.add("label", labels.astype(str))))
        started = time.perf_counter()
        Calibration.fit(RetrievalConfig(), index)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        goals = (60.0, 4.0) if n == 20_000 else (None, None)
        yield _row(f"calibrating {n:,} x 1152, 100 labels", seconds, "s", goals[0], "lower", "2 cores")
        yield _row(f"peak memory so far, {n:,} x 1152", peak, "GB", goals[1], "lower", "the whole process")


def _row(name: str, value: float, unit: str, goal: float | None, better: Any, against: str) -> Row:
    return Row(name, round(value, 2), unit, goal, better, against, "", COMMAND)


def main() -> None:
    """Measure everything and write results/quality.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    given = parser.parse_args()
    parts: list[Callable[[], Iterator[Row]]] = [cost_rows]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        train, validation, trash = (
            encoded(given.data / name, given.models, work)
            for name in ("clothing/train", "clothing/validation", "trashnet")
        )
    clothing = Task(train, validation)
    both = Pictures(
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
    names = np.unique(train.labels)
    held = [("shirt", "shorts", "dress"), *(tuple(rng.choice(names, 3, replace=False)) for _ in range(9))]
    pairs = [
        (first, second)
        for place, first in enumerate(np.unique(trash.labels))
        for second in np.unique(trash.labels)[place + 1 :]
    ]
    goals = {"clothing": 88.0, "clothing, 16 per class": 77.5, "clothing, 4 per class": 67.5}
    parts += [
        lambda: accuracy_rows(sets, goals),
        lambda: confidence_rows({name: sets[name] for name in ("clothing", "trashnet")}),
        lambda: promise_rows("clothing", both),
        lambda: promise_rows("trashnet", trash),
        lambda: unknown_rows("clothing", clothing, held, 4.0),
        lambda: unknown_rows("trashnet", splits[0], pairs, None),
        lambda: kept_rows("clothing", [clothing, *(split(both, seed) for seed in range(4))]),
        lambda: kept_rows("trashnet", splits),
        lambda: flip_rows("clothing", train),
        lambda: flip_rows("trashnet", trash),
    ]
    said = where("scikit-learn", "onnxruntime", "cleanlab")
    rows: list[Row] = []
    for part in parts:
        for row in part():
            rows.append(Row(**{**row.__dict__, "where": said}))
            print(f"{row.name}: {row.value:g} {row.unit} (goal {row.goal}) {row.against}", flush=True)
    write_rows("quality", rows)


if __name__ == "__main__":
    main()
