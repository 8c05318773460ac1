"""The rules that a store answers name the comparison; others are refused."""

import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_rule import make_store_rule


@pytest.mark.parametrize("rule", ["auto", "gda", "prototype", "top_k_mean", "top_k_mean_prototype"])
def test_the_name_has_the_limits(rule):
    """Another limit is another comparison, so another calibration."""
    names = {make_store_rule(RetrievalConfig(rule=rule), 9, ReadingLimits(labels=most)).name for most in (8, 9)}
    assert len(names) == 2
    assert all(name.startswith(rule) and "search=store" in name for name in names)


@pytest.mark.parametrize("rule", ["tip", "knn"])
def test_rules_over_all_rows_are_refused(rule):
    """The message names the rule and what to do."""
    with pytest.raises(ConfigError, match=f"retrieval.rule: {rule}.*such as auto"):
        make_store_rule(RetrievalConfig(rule=rule), 9, ReadingLimits())
