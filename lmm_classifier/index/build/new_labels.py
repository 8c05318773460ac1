"""Labels that a person gives: checked, in their normal form, and named where the index has one that looks the same."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.labels import alike_between, hidden_in, look, require_label, unknown_clash

logger: logging.Logger = logging.getLogger(__name__)


def checked_label(text: str, unknown_label: str) -> str:
    """Return the normal form of a label; raise DatasetError unless it is one that an index may have."""
    label = require_label(text)
    if message := unknown_clash([label], unknown_label):
        raise DatasetError(message)
    return label


def check_new(names: Iterable[str], labels: Iterable[str]) -> None:
    """Check the names that are none of an index's labels, which keep whatever name they have.

    A warning is logged where only the case or the form of letters differs from a label.

    Raises:
        DatasetError: a name holds something that cannot be seen, or looks the same as a label.
    """
    known = set(labels)
    new = sorted(set(names) - known)
    if not new:
        return
    by_look = {look(label): label for label in sorted(known)}
    for name in new:
        hidden, same = hidden_in(name), by_look.setdefault(look(name), name)
        advice = f"Write {look(name)!r}." if same == name else f"The index has {same!r}: use that one, or rename it."
        if hidden:
            raise DatasetError(f"The label {name!r} has {hidden}, which cannot be seen. {advice}")
        if same != name:
            raise DatasetError(f"The label {name!r} looks the same as another one. {advice}")
    for name, label in alike_between(new, known):
        logger.warning("The label %r is new, and the index has %r: is that the same?", name, label)
