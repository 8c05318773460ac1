"""Indexes: where the examples and their vectors live."""

from __future__ import annotations

import logging

from lmm_classifier.config import RetrievalConfig
from lmm_classifier.datatypes import Fingerprint
from lmm_classifier.index.exact import ExactIndex

logger = logging.getLogger(__name__)


def open_index(config: RetrievalConfig, encoder: Fingerprint, labels: list[str] | None = None) -> ExactIndex:
    """Open the configured index for this encoder, restricted to `labels` where they are given."""
    index = ExactIndex.open(config.index_path, encoder)
    stored = index.manifest.fingerprint.dtype
    if stored != encoder.dtype:
        logger.warning(
            "the index holds vectors computed in %s, this encoder computes in %s: similarities differ by about 0.001",
            stored,
            encoder.dtype,
        )
    return index if labels is None else index.only(labels)
