"""The calibration of a table, in a dataset of its own next to the rows: storing one changes no row."""

from __future__ import annotations

from collections.abc import Mapping

from lmm_classifier.core.arrays import are_equal
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.backends.lance_table.layout import CALIBRATION, part
from lmm_classifier.index.backends.lance_table.named_arrays import arrays_of, put_arrays
from lmm_classifier.index.contents import Array


def get_calibration(url: str) -> tuple[dict[str, Array] | None, int]:
    """Return the newest calibration, None where there is none, and its number."""
    place = part(url, CALIBRATION)
    there = place.open_if_there()
    if there is None:
        return None, 0
    return arrays_of(there, str(place)) or None, int(there.version)


def put_calibration(url: str, calibration: Mapping[str, Array], former: Mapping[str, Array] | None = None) -> bool:
    """Store a calibration; with `former`, only in the place of that one: False where there is another meanwhile."""
    newest, version = get_calibration(url)
    if former is not None and not are_equal(former, newest or {}):
        return False
    try:
        put_arrays(part(url, CALIBRATION), calibration, version)
    except IndexFileError:
        if former is None or get_calibration(url)[1] == version:
            raise
        return False
    return True
