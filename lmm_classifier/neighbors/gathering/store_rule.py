"""The voting rules that a store of rows can answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.voting import RuleSpec, make_rule

_ALL_ROWS = ("tip", "knn")  # they need the nearest rows whatever their labels, in the space of the scores


def make_store_rule(config: RetrievalConfig, labels: int, limits: ReadingLimits) -> RuleSpec:
    """Return the rule that `config` names, for a store with so many labels; its name has the limits of reading.

    Raises:
        ConfigError: a store cannot answer the rule, or an expert of it.
    """
    if config.rule in _ALL_ROWS:
        raise ConfigError(
            f"retrieval.rule: {config.rule} weighs rows of any label, which a store of rows does not give (`retrieval."
            "search: store`). Use another rule, such as auto, or `retrieval.search: exact` where the rows fit in memory"
        )
    spec = make_rule(config, np.empty(0, np.int64), labels)
    return replace(spec, name=f"{spec.name} search=store {limits.name}", through_shortlist=True)
