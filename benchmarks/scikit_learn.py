"""The estimator on tables of numbers, next to two classifiers of scikit-learn: `python -m benchmarks.scikit_learn`.

It prints the tables of `docs/guides/scikit-learn.md`: accuracy and log-loss of four repetitions of five folds, and the
CPU seconds of a fit to many vectors.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lmm_classifier.integrations.sklearn import TrainFreeClassifier
from lmm_classifier.testing import clustered_embeddings

TABLES = {"digits": load_digits, "iris": load_iris, "wine": load_wine}
CLASSIFIERS = {
    "TrainFree, euclidean": TrainFreeClassifier(metric="euclidean"),
    "TrainFree, cosine": TrainFreeClassifier(),
    "kNN-5": KNeighborsClassifier(),
    "logistic regression": LogisticRegression(max_iter=1000),
}

ROWS, DIM, LABELS, GROUP, NEW = 10_000, 512, 100, 5, 1_000  # of the table of times


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one repetition instead of four")
    repeats = 1 if parser.parse_args().quick else 4
    warnings.simplefilter("ignore")
    print(f"| table | {' | '.join(CLASSIFIERS)} |")
    print("|---" * (1 + len(CLASSIFIERS)) + "|")
    for name, load in TABLES.items():
        values, target = load(return_X_y=True)
        cells = []
        for classifier in CLASSIFIERS.values():
            folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=repeats, random_state=0)
            started = time.perf_counter()
            scores = cross_validate(
                make_pipeline(StandardScaler(), classifier),
                values,
                target,
                cv=folds,
                scoring=("accuracy", "neg_log_loss"),
            )
            seconds = (time.perf_counter() - started) / (5 * repeats)
            accuracy, loss = 100 * np.mean(scores["test_accuracy"]), -np.mean(scores["test_neg_log_loss"])
            cells.append(f"{accuracy:.1f}% / {loss:.3f} / {seconds:.2f} s")
        print(f"| {name}, {len(values)} rows of {values.shape[1]} | {' | '.join(cells)} |")
    print_times()


def print_times() -> None:
    """Print the CPU seconds of fits to drawn vectors, and of predictions of new ones."""
    labels = [f"label {row % LABELS:03}" for row in range(ROWS + NEW)]
    vectors = clustered_embeddings(np.random.default_rng(0), labels, DIM, 0.9)
    groups = [row // (LABELS * GROUP) * LABELS + row % LABELS for row in range(ROWS)]  # rows of one label
    classifiers = {
        "TrainFree": (TrainFreeClassifier(), {}),
        f"TrainFree, groups of {GROUP}": (TrainFreeClassifier(), {"groups": groups}),
        "kNN-5": (KNeighborsClassifier(metric="cosine"), {}),
        "logistic regression": (LogisticRegression(max_iter=1000), {}),
    }
    print(f"| {ROWS:,} rows of {DIM}, {LABELS} labels | fit | predict {NEW:,} rows |\n|---|---|---|")
    for name, (classifier, given) in classifiers.items():
        started = time.process_time()
        classifier.fit(vectors[:ROWS], labels[:ROWS], **given)
        fitted = time.process_time()
        classifier.predict(vectors[ROWS:])
        print(f"| {name} | {fitted - started:.2g} s | {time.process_time() - fitted:.2g} s |")


if __name__ == "__main__":
    main()
