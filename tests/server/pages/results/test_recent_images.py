"""Images that people looked at are kept within a bound."""

import numpy as np

from lmm_classifier.core.datatypes import Classification, Decision
from lmm_classifier.server.pages.results.recent_images import RecentImage, RecentImages

RESULT = Classification("cat", 0.9, False, Decision("accept", "confident"), ())


def _image(name, size):
    return RecentImage(name, bytes(size), RESULT, 1)


def test_the_ones_used_last_are_kept():
    """By their bytes and their number."""
    kept = RecentImages(most_bytes=100, most_images=3)
    for name in "abc":
        kept.put(_image(name, 30))
    assert kept.get("a") is not None
    kept.put(_image("d", 30))
    assert [kept.get(name) is not None for name in "abcd"] == [True, False, True, True]
    kept.put(_image("e", 95))
    assert [name for name in "abcde" if kept.get(name)] == ["e"]


def test_bytes_are_counted_whatever_happens():
    """The same bytes again count once."""
    rng = np.random.default_rng(0)
    kept = RecentImages(most_bytes=500, most_images=20)
    for _ in range(300):
        kept.put(_image(str(rng.integers(40)), int(rng.integers(100))))
        held = [kept._kept[name] for name in kept._kept]
        assert kept._bytes == sum(len(image.data) for image in held) <= 500
        assert len(held) <= 20
