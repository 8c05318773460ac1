"""The breaker opens after failures in a row, lets one request try, and closes when that succeeds."""

from lmm_classifier.rerank.circuit_breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_it_opens_tries_and_closes():
    """Five failures open it for half a minute; then exactly one request may try."""
    clock = Clock()
    breaker = Breaker(5, 30.0, clock)
    for _ in range(4):
        breaker.failed("down")
        assert breaker.refusal() is None
    breaker.failed("down")
    assert "left alone for 30 s more: down" in breaker.refusal()
    clock.now += 31
    assert breaker.refusal() is None
    assert "tried again" in breaker.refusal()  # the second one has to wait
    breaker.failed("still down")
    assert "still down" in breaker.refusal()
    clock.now += 31
    assert breaker.refusal() is None
    breaker.succeeded()
    assert breaker.refusal() is None
    assert breaker.refusal() is None


def test_a_success_between_starts_the_count_anew():
    """Only failures in a row count."""
    breaker = Breaker(2, 30.0, Clock())
    for _ in range(5):
        breaker.failed("now and then")
        breaker.succeeded()
        assert breaker.refusal() is None


def test_a_server_that_wants_to_rest_is_left_alone():
    """For as long as it said, without being counted out."""
    clock = Clock()
    breaker = Breaker(5, 30.0, clock)
    breaker.wait_for(7, "429")
    assert "7 s more: 429" in breaker.refusal()
    clock.now += 7.1
    assert breaker.refusal() is None
    assert breaker.refusal() is None


def test_a_trial_that_was_cancelled_gives_way():
    """Whoever was trying and gave up does not keep the others out."""
    clock = Clock()
    breaker = Breaker(1, 30.0, clock)
    breaker.failed("down")
    clock.now += 31
    assert breaker.refusal() is None
    breaker.gave_up()
    assert breaker.refusal() is None
