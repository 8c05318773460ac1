"""Admission counts images and bytes, and refuses what has no room or no time."""

import pytest

from lmm_classifier.batching.admission import Admission
from lmm_classifier.batching.service_rate import ServiceRate
from lmm_classifier.core.errors import QueueFullError


@pytest.fixture
def rate():
    return ServiceRate()


def test_it_refuses_by_number_and_by_bytes(rate):
    """A refusal changes nothing but its own count; whoever leaves makes room."""
    admission = Admission(2, 100, rate)
    admission.enter(60, 5)
    with pytest.raises(QueueFullError, match="hold 60 of 100 bytes"):
        admission.enter(41, 5)
    admission.enter(40, 5)
    with pytest.raises(QueueFullError, match="2 images wait, which is the limit") as refused:
        admission.enter(0, 5)
    assert (refused.value.depth, refused.value.limit, refused.value.retry_after) == (2, 2, 1.0)
    assert (admission.count, admission.bytes) == (2, 100)
    admission.leave(60)
    admission.enter(60, 5)
    assert admission.refused == {"images": 1, "bytes": 1, "deadline": 0}


def test_a_very_large_image_is_let_in_alone(rate):
    """Otherwise it would never be."""
    admission = Admission(9, 100, rate)
    admission.enter(1000, 5)
    with pytest.raises(QueueFullError, match="bytes"):
        admission.enter(1, 5)


def test_it_refuses_what_would_be_late(rate):
    """By the measured rate; the first is let in whatever was measured."""
    rate.measure(1, entered=0, answered=3)
    admission = Admission(9, 100, rate)
    admission.enter(1, 0.1)
    admission.enter(1, 3)
    with pytest.raises(QueueFullError, match=r"about 6.0 s, which is more than its deadline of 5 s") as refused:
        admission.enter(1, 5)
    assert refused.value.retry_after == pytest.approx(6)
