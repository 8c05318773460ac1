"""The estimator on tables of numbers, next to two classifiers of scikit-learn: `python -m benchmarks.scikit_learn`.

It prints the table of `docs/guides/scikit-learn.md`: accuracy and log-loss of four repetitions of five folds.
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

TABLES = {"digits": load_digits, "iris": load_iris, "wine": load_wine}
CLASSIFIERS = {
    "TrainFree, euclidean": TrainFreeClassifier(metric="euclidean"),
    "TrainFree, cosine": TrainFreeClassifier(),
    "kNN-5": KNeighborsClassifier(),
    "logistic regression": LogisticRegression(max_iter=1000),
}


def main() -> None:
    """Print the table in Markdown."""
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


if __name__ == "__main__":
    main()
