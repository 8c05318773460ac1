"""A run pauses while images of requests wait, but not for ever."""

from types import SimpleNamespace

import pytest

from lmm_classifier.server.reviewing.courtesy import Courtesy


class Time:
    """Passes when somebody sleeps; `waiting` tells how many images wait at each time."""

    def __init__(self, waiting):
        self.now, self._waiting = 10.0, waiting

    @property
    def statistics(self):
        return SimpleNamespace(waiting=self._waiting(self.now - 10))

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        (lambda _: 0, 0),  # nobody asks
        (lambda _: 1, 4),  # somebody always asks: four times the second that the batch took
        (lambda now: now < 1, 1.02),
        (lambda now: now % 0.02 < 0.01, 4),  # one client that sends the next image when it got a result
    ],
)
def test_a_pause_is_as_long_as_others_wait(waiting, expected):
    """At most four times as long as the batch took."""
    clock = Time(waiting)
    courtesy = Courtesy(clock, lambda: clock.now, clock.sleep)
    assert courtesy.pause(courtesy.now() - 1) - 10 == pytest.approx(expected, abs=0.02)


def test_a_cancelled_run_does_not_pause():
    """It ends at once."""
    clock = Time(lambda _: 1)
    assert Courtesy(clock, lambda: clock.now, clock.sleep).pause(0, lambda: True) == 10
