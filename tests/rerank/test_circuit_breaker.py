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


def opened(failures=2, seconds=30.0, now=100.0):
    """A breaker after as many failures as open it, and its clock."""
    clock = Clock()
    clock.now = now
    breaker = CircuitBreaker(failures, seconds, clock)
    for _ in range(failures):
        breaker.failed("down")
    return breaker, clock


def test_the_time_is_over_when_it_has_passed():
    """Not before, and not later; whoever only looks is told nothing else by looking."""
    breaker, clock = opened()
    clock.now = 129.9
    assert breaker.open_reason() == "the server is not asked for another 0 s: down"
    clock.now = 130.0
    for _ in range(3):
        assert breaker.open_reason() is None
    assert breaker.blocked() is None
    assert breaker.open_reason() == breaker.blocked() == "another request is testing the server: down"


def test_failures_are_counted_since_the_last_success():
    """From none on, also beyond the limit."""
    breaker = CircuitBreaker(2, 30.0, Clock())
    counts = [breaker.failures]
    for _ in range(3):
        breaker.failed("down")
        counts.append(breaker.failures)
    breaker.succeeded()
    assert [*counts, breaker.failures] == [0, 1, 2, 3, 0]
    assert breaker.open_reason() is None


def test_beyond_the_limit_one_trial_is_allowed_as_well():
    """A trial that failed is followed by another wait and another single trial."""
    breaker, clock = opened(failures=2)
    breaker.failed("still down")
    clock.now = 130.0
    assert breaker.blocked() is None
    assert breaker.blocked() == "another request is testing the server: still down"


def test_early_in_the_life_of_a_clock_nothing_is_closed():
    """A clock may begin at 0; a success opens the way at once."""
    breaker, clock = opened(now=0.5)
    assert breaker.blocked() is not None
    breaker.succeeded()
    assert breaker.blocked() is None
    assert CircuitBreaker(2, 30.0, clock).blocked() is None


def test_a_failure_does_not_shorten_a_wait():
    """Of the time after failures and the time that the server asked for, the longer one counts, in any order."""
    breaker, _ = opened(failures=1)
    breaker.wait_for(7.0, "429")
    assert breaker.open_reason() == "the server is not asked for another 30 s: 429"
    breaker.wait_for(70.0, "429")
    breaker.failed("down")
    assert breaker.open_reason() == "the server is not asked for another 70 s: down"


def test_after_a_wait_there_is_another_trial():
    """A trial request that was told to wait is over."""
    breaker, clock = opened()
    clock.now = 130.0
    assert breaker.blocked() is None
    breaker.wait_for(7.0, "429")
    clock.now = 137.0
    assert breaker.blocked() is None
    assert breaker.blocked() == "another request is testing the server: 429"
