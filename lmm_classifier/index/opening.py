"""Open the configured index and compare it with the configured encoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig

logger = logging.getLogger(__name__)


def open_index(config: RetrievalConfig, backends: Sequence[str]) -> ExactIndex:
    """Open the configured index.

    Args:
        config: names the index.
        backends: encoder backends whose vectors the configured encoder can be compared with.

    Raises:
        IndexMismatchError: if another backend made the index. This check needs no encoder, so it runs before gigabytes
            are loaded.
    """
    index = ExactIndex.open(config.index_path)
    index.manifest.require_backend(backends, str(config.index_path))
    return index


def require_encoder(index: ExactIndex, encoder: Fingerprint, source: str) -> None:
    """Raise IndexMismatchError unless `encoder` made the vectors of `index`; warn where its number type differs."""
    index.manifest.require(encoder, source)
    stored = index.manifest.fingerprint.dtype
    if stored != encoder.dtype:
        logger.warning(
            "The index holds vectors computed in %s, but this encoder computes in %s. Similarities differ by about "
            "0.001.",
            stored,
            encoder.dtype,
        )
