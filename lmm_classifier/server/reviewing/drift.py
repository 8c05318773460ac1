"""What the drift test of a run says, with the items whose images are most evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmm_classifier.review.storage.drift_store import DriftStore


def drift_values(report: Mapping[str, Any] | None, run: int, store: DriftStore) -> dict[str, Any] | None:
    """Return a report as JSON; after an alarm each image names its item, so that a page can show it.

    Args:
        report: as `DriftReport.to_dict` tells; None where nothing was tested.
        run: number of the run.
        store: knows its items.
    """
    if report is None:
        return None
    items = store.items_named(run, [image["name"] for image in report["evidence"]]) if report["is_alarm"] else {}
    evidence = []
    for image in report["evidence"]:
        item, content_hash = items.get(image["name"], (None, None))
        evidence.append({**image, "item": item, "content_hash": content_hash})
    return {**report, "evidence": evidence}
