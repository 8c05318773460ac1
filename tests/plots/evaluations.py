"""An evaluation of drawn numbers, to draw it."""

from pathlib import Path

import numpy as np

from lmm_classifier.core.datatypes import Candidate, Classification, Decision
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.evaluation.results import Evaluation

LABELS = ("apple", "banana", "cherry", "damson")


def result(label, score, familiarity, is_unknown=False):
    """One result; an unknown one keeps its best label among the candidates."""
    decision = Decision("reject", "novel") if is_unknown else Decision("accept", "confident")
    given = "unknown" if is_unknown else label
    return Classification(given, score, False, decision, (Candidate(label, score, ()),), 0.5, familiarity)


def evaluation(known=200, unknowns=60, seed=0, labels=LABELS):
    """A calibrated classifier: an answer with score s is right with probability s."""
    rng = np.random.default_rng(seed)
    entries = []
    for number in range(known):
        truth, score = labels[number % len(labels)], float(rng.uniform(0.4, 1))
        answer = truth if rng.random() < score else labels[int(rng.integers(len(labels)))]
        familiarity = float(rng.normal(0, 1))
        entries.append(LabeledResult(Path("x"), result(answer, score, familiarity, familiarity < -1.6), truth))
    for _ in range(unknowns):
        familiarity = float(rng.normal(-3, 1))
        answer = labels[int(rng.integers(len(labels)))]
        entries.append(LabeledResult(Path("x"), result(answer, 0.5, familiarity, familiarity < -1.6), "plum"))
    return Evaluation.of(entries, set(labels))


def empty():
    """No image at all."""
    return Evaluation.of([], set(LABELS))
