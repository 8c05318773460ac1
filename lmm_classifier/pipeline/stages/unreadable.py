"""The result of an image that cannot be classified."""

from __future__ import annotations

from lmm_classifier.core.datatypes import Classification, Decision


def unreadable(label: str, path: str | None, reason: object, content_hash: str | None) -> Classification:
    """Return the result, with the label for unknown images, the decision `unreadable` and its reason."""
    return Classification(
        label=label,
        score=0.0,
        used_reranker=False,
        decision=Decision("reject", "unreadable"),
        candidates=(),
        path=path,
        content_hash=content_hash,
        error=str(reason),
    )
