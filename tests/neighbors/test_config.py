"""The settings of retrieval: defaults, limits, and the two thresholds that exclude each other."""

import pytest
from pydantic import ValidationError

from lmm_classifier.neighbors.config import RetrievalConfig


def test_the_defaults():
    """Those that the reference of the configuration lists."""
    config = RetrievalConfig()
    assert (config.rule, config.k, config.candidates, config.neighbors_per_label) == ("auto", 20, 5, 3)
    assert (config.within_class_metric, config.power_normalize, config.temperature) == (False, "auto", None)


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("k", [1], [0]),
        ("temperature", [1e-9], [0, -1]),
        ("confidence_threshold", [0, 1], [-0.01, 1.01]),
        ("keep_known", [0.01, 0.99], [0, 1]),
        ("open_set_threshold", [-1, 1], [-1.01, 1.01]),
        ("prediction_set_alpha", [0.01, 0.99], [0, 1]),
        ("familiarity_threshold", [-9.0, 9.0], []),
        ("candidates", [1], [0]),
        ("neighbors_per_label", [1], [0]),
    ],
)
def test_the_limits_of_each_setting(name, allowed, refused):
    """A limit is inclusive for counts and scores, exclusive for probabilities that would ask for all or nothing."""
    for value in allowed:
        assert getattr(RetrievalConfig(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValidationError, match=name):
            RetrievalConfig(**{name: value})


def test_only_one_threshold_of_novelty_is_set():
    """Either the familiarity or the similarity decides."""
    assert RetrievalConfig(familiarity_threshold=0.0).open_set_threshold is None
    assert RetrievalConfig(open_set_threshold=0.0).familiarity_threshold is None
    with pytest.raises(ValidationError, match="not both"):
        RetrievalConfig(familiarity_threshold=0.0, open_set_threshold=0.0)
