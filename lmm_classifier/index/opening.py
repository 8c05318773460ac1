"""Open the configured index."""

from __future__ import annotations

from collections.abc import Sequence

from lmm_classifier.index.matching import require_backends
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig


def open_index(config: RetrievalConfig, backends: Sequence[Sequence[str]]) -> tuple[Index, ...]:
    """Open the configured index once for each of its encoders.

    Args:
        config: names the index.
        backends: for each configured encoder the backends whose vectors it may give, its own first.

    Raises:
        IndexMismatchError: if an encoder cannot be one of the index. This check needs no encoder, so it runs before
            gigabytes are loaded.
    """
    indexes = Index.open_each(config.index_path)
    require_backends(indexes[0].manifest, backends, str(config.index_path))
    return indexes
