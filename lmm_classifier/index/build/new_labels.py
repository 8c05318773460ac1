"""Labels that a person gives: checked, in their normal form, and named where the index has one that looks the same."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.labels import alike_between, require_label, unknown_clash

logger = logging.getLogger(__name__)


def checked_label(text: str, unknown_label: str) -> str:
    """Return the normal form of a label; raise DatasetError unless it is one that an index may have."""
    label = require_label(text)
    if message := unknown_clash([label], unknown_label):
        raise DatasetError(message)
    return label


def warn_if_alike(names: Iterable[str], labels: Iterable[str]) -> None:
    """Log a warning for each name that is none of the index's labels, but can hardly be told from one."""
    for name, label in alike_between(names, labels):
        logger.warning("The label %r is new, and the index has %r: is that the same?", name, label)
