"""The order in which the images of a folder are tested: one that has nothing to do with what they show.

Folders are often sorted by label or by day. In the order of their names, the first images would all be of one label,
which is a change of a stream, but none of the images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def in_stream_order(items: Iterable[Item], name_of: Callable[[Item], str]) -> list[Item]:
    """Return items in the order of the SHA-256 digests of their names: it looks random, and is always the same.

    Example:
        >>> from lmm_classifier.discovery.drift.stream_order import in_stream_order
        >>> in_stream_order(["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"], str)
        ['b/2.jpg', 'a/2.jpg', 'a/1.jpg', 'b/1.jpg']
    """

    def digest(item: Item) -> bytes:
        return hashlib.sha256(name_of(item).encode("utf-8", "surrogatepass")).digest()

    return sorted(items, key=digest)
