"""The rate is that of a busy queue, and follows a change."""

import pytest

from lmm_classifier.batching.service_rate import ServiceRate


def test_nothing_is_known_before_the_first_image():
    """Nor is anything claimed."""
    rate = ServiceRate()
    assert rate.wait(3) is None
    assert rate.per_second is None


def test_time_without_images_does_not_count():
    """Only from when the first image of a batch entered, or from the batch before."""
    rate = ServiceRate()
    rate.measure(2, entered=0, answered=1)
    rate.measure(2, entered=0.5, answered=2)
    rate.measure(1, entered=1000, answered=1000.5)
    assert rate.per_second == pytest.approx(2)
    assert rate.wait(6) == pytest.approx(3)


def test_it_follows_a_slower_encoder():
    """After some images the former rate has no weight."""
    rate = ServiceRate()
    rate.measure(1, 0, 0.1)
    for second in range(1, 80):
        rate.measure(1, second, second + 1)
    assert rate.per_second == pytest.approx(1, rel=0.01)
    rate.measure(1, 80, 80)  # a clock that stands still is no error
    assert rate.per_second > 0
