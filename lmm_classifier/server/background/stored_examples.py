"""What runs in the background over all examples is refused where these stay in a store: they may not fit in memory."""

from __future__ import annotations

from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.pipeline.classifier import HybridClassifier

NO_AUDIT = "This page needs all examples in memory, but they stay in a store. The command `audit` finds mistakes there."
NO_MAP = "The examples stay in a store, and a map is made of examples in memory: set retrieval.search to exact or ann."


def are_stored(classifier: HybridClassifier) -> bool:
    """Return whether the examples stay in a store, so that their ids are not in memory either."""
    index = classifier.index
    return isinstance(index, StoreIndex) and not index.contents.paths
