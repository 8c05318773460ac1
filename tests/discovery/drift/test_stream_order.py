"""The order of a folder does not follow its labels, and is always the same."""

import random
from itertools import pairwise

from lmm_classifier.discovery.drift.stream_order import in_stream_order


def test_neighbors_are_of_different_labels():
    """Of two labels with 500 images each, about half of the neighbors differ; 6 standard errors are 95."""
    names = [f"{label}/{number}\udcff.jpg" for label in "ab" for number in range(500)]
    ordered = in_stream_order(names, str)
    assert sorted(ordered) == sorted(names)
    changes = sum(first[0] != second[0] for first, second in pairwise(ordered))
    assert abs(changes - 500) < 95
    random.Random(0).shuffle(names)
    assert in_stream_order(names, str) == ordered


def test_more_images_leave_the_order_of_the_others():
    """So a run that is resumed has the same stream."""
    names = [f"{number}" for number in range(100)]
    some = set(in_stream_order(names[:40], str))
    assert [name for name in in_stream_order(names, str) if name in some] == in_stream_order(names[:40], str)
