"""A fitted rule is rebuilt from plain arrays; damaged ones are refused, and a rule without experts cannot score."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.fitted_rule import FittedRule
from lmm_classifier.core.numerics import softmax
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.metric import gallery_in_metric
from lmm_classifier.testing import random_embeddings
from tests.helpers.vector_indexes import DIM, write_clusters


@pytest.fixture
def index(tmp_path):
    return Index.open(write_clusters(tmp_path / "index.npz"))


@pytest.fixture
def rule(index):
    return fit_by_leave_one_out(RetrievalConfig(), [index])[0].fits[0].rule


def compare(index, rule, queries):
    plain = index.gallery.compare(queries)
    return plain, gallery_in_metric(rule.metric, index.gallery).compare(rule.metric.whiten(queries)), queries


def test_a_rebuilt_rule_gives_the_same_scores(index, rule):
    """Bit for bit; its probabilities add up to 1."""
    queries = random_embeddings(np.random.default_rng(3), 7, DIM)
    rebuilt = FittedRule.from_arrays(rule.to_arrays(), rule.spec)
    expected = rule.scores(*compare(index, rule, queries))
    np.testing.assert_array_equal(rebuilt.scores(*compare(index, rebuilt, queries)), expected)
    weights = np.exp(expected / rule.temperature)
    np.testing.assert_allclose(softmax(expected, rule.temperature), weights / weights.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(("rule", "in_metric"), [("knn", False), ("auto", True)])
def test_the_experts_compare_in_the_space_of_their_rule(index, rule, in_metric):
    """In the within-class metric, or in the space of the index."""
    fitted = fit_by_leave_one_out(RetrievalConfig(rule=rule), [index])[0].fits[0].rule
    queries = random_embeddings(np.random.default_rng(4), 5, DIM)
    plain, mapped, _ = compare(index, fitted, queries)
    expected = fitted.combine([e.scores(mapped if in_metric else plain) for e in fitted.spec.experts], queries)
    np.testing.assert_array_equal(fitted.scores(plain, mapped, queries), expected)


def test_a_rule_without_its_specification_cannot_score(index, rule):
    """It only describes what is stored."""
    with pytest.raises(ValueError, match="cannot score"):
        replace(rule, spec=None).scores(*compare(index, rule, random_embeddings(np.random.default_rng(3), 1, DIM)))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_impossible_temperatures_are_refused(rule, temperature):
    """The temperature of each expert, and that of their product."""
    for position in (0, -1):
        temperatures = np.array([*rule.temperatures, rule.temperature])
        temperatures[position] = temperature
        with pytest.raises(ValueError, match="temperatures above 0"):
            FittedRule.from_arrays({**rule.to_arrays(), "temperatures": temperatures})
