"""The circuit breaker opens after consecutive failures, allows one trial request, and closes when that succeeds."""

from lmm_classifier.rerank.circuit_breaker import CircuitBreaker


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_it_opens_allows_one_trial_and_closes():
    """Five failures open it for 30 seconds; then exactly one trial request is allowed."""
    clock = Clock()
    circuit_breaker = CircuitBreaker(5, 30.0, clock)
    for _ in range(4):
        circuit_breaker.failed("down")
        assert circuit_breaker.blocked() is None
    circuit_breaker.failed("down")
    assert "not asked for another 30 s: down" in circuit_breaker.blocked()
    clock.now += 31
    assert circuit_breaker.blocked() is None
    assert "testing the server" in circuit_breaker.blocked()  # a second request has to wait
    circuit_breaker.failed("still down")
    assert "still down" in circuit_breaker.blocked()
    clock.now += 31
    assert circuit_breaker.blocked() is None
    circuit_breaker.succeeded()
    assert circuit_breaker.blocked() is None
    assert circuit_breaker.blocked() is None


def test_a_success_resets_the_count():
    """Only consecutive failures count."""
    circuit_breaker = CircuitBreaker(2, 30.0, Clock())
    for _ in range(5):
        circuit_breaker.failed("now and then")
        circuit_breaker.succeeded()
        assert circuit_breaker.blocked() is None


def test_a_wait_that_the_server_asks_for():
    """The server is not asked for that long, and no failure is counted."""
    clock = Clock()
    circuit_breaker = CircuitBreaker(5, 30.0, clock)
    circuit_breaker.wait_for(7, "429")
    assert "another 7 s: 429" in circuit_breaker.blocked()
    clock.now += 7.1
    assert circuit_breaker.blocked() is None
    assert circuit_breaker.blocked() is None


def test_a_cancelled_trial_does_not_block_others():
    """After a trial request was cancelled, the next request is allowed."""
    clock = Clock()
    circuit_breaker = CircuitBreaker(1, 30.0, clock)
    circuit_breaker.failed("down")
    clock.now += 31
    assert circuit_breaker.blocked() is None
    circuit_breaker.cancelled()
    assert circuit_breaker.blocked() is None
