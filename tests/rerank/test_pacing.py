"""A refusal means slower, not broken: requests are paced to what a server accepts, in virtual time."""

import asyncio
import math
from collections import deque

import pytest

from lmm_classifier.rerank.pacing import Pacer, SlowDownError, send_paced
from tests.helpers.virtual_time import run


class LimitedServer:
    """Accepts so many requests per second, counted in one of three ways, and answers after 50 ms."""

    def __init__(self, way, per_second=6.0, header=None, refusals_count=False):
        self.way, self.limit, self.header, self.refusals_count = way, per_second, header, refusals_count
        self.accepted, self.window, self.tokens, self.last, self.sent = deque(), -1, per_second, 0.0, 0

    def admits(self, now):
        if self.way == "bucket":
            self.tokens = min(1.0, self.tokens + (now - self.last) * self.limit)
            self.last = now
            admitted = self.tokens >= 1 - 1e-9
            self.tokens -= admitted
            return admitted
        oldest = math.floor(now) if self.way == "window" else now - 1
        while self.accepted and self.accepted[0] < oldest:
            self.accepted.popleft()
        admitted = len(self.accepted) < self.limit
        if admitted or self.refusals_count:
            self.accepted.append(now)
        return admitted

    async def __call__(self):
        self.sent += 1
        await asyncio.sleep(0.001)
        if not self.admits(asyncio.get_running_loop().time()):
            raise SlowDownError("429", self.header)
        await asyncio.sleep(0.05)
        return "answer"


async def ask(server, images, requests_per_image=2, concurrency=8, deadline=30.0, patience=math.inf):
    """Answer images as the client does: a deadline for each, several at a time; return the seconds that each took."""
    loop = asyncio.get_running_loop()
    pacer, turn, slots = Pacer(loop.time), asyncio.Lock(), asyncio.Semaphore(concurrency)

    async def image():
        async with slots:
            started = loop.time()
            sending = [send_paced(pacer, turn, server, started + deadline, patience) for _ in range(requests_per_image)]
            try:
                await asyncio.gather(*sending)
            except SlowDownError as error:
                return str(error)
            return loop.time() - started

    return await asyncio.gather(*[image() for _ in range(images)])


@pytest.mark.parametrize("way", ["window", "sliding", "bucket"])
@pytest.mark.parametrize("header", [None, 1.0, 0.0])
@pytest.mark.parametrize("refusals_count", [False, True])
def test_a_rate_limited_server_answers_all(way, header, refusals_count):
    """At 6 requests per second 40 of 40 images are answered in time, whatever way it counts, with a header or not."""
    server = LimitedServer(way, header=header, refusals_count=refusals_count)
    took, seconds = run(ask(server, 40))
    assert [type(value) for value in took] == [float] * 40
    assert max(took) < 15
    assert seconds < 60  # 80 requests take 13.3 s at best
    assert server.sent < 200


def test_a_server_without_limits_is_not_slowed_down():
    """Without a refusal nothing waits: 800 requests, 16 at a time, of 51 ms each."""
    took, seconds = run(ask(LimitedServer("window", math.inf), 400))
    assert len(took) == 400
    assert seconds == pytest.approx(400 / 8 * 0.051, rel=0.01)


@pytest.mark.long
def test_a_fast_server_is_used_well():
    """At a limit of 60 requests per second, at least two thirds of the rate are used in the long run."""
    took, seconds = run(ask(LimitedServer("sliding", 60), 1500, concurrency=32))
    assert all(isinstance(value, float) for value in took)
    assert seconds < 1.5 * 3000 / 60


def test_a_wait_beyond_the_deadline_fails_at_once():
    """Nobody waits for a time after the deadline; the failure names the refusal."""
    server = LimitedServer("window", 0, header=3600.0)
    took, seconds = run(ask(server, 40))
    assert all("429" in value and "after the deadline" in value for value in took)
    assert seconds < 1
    assert server.sent <= 16


def test_patience_ends():
    """Without a deadline a server that never answers is given up after the patience."""
    took, seconds = run(ask(LimitedServer("window", 0), 3, deadline=math.inf, patience=900.0))
    assert took == ["429"] * 3
    assert 850 < seconds < 1000


def test_patience_does_not_end_while_answers_come():
    """A slow server may take hours for many images."""
    took, seconds = run(ask(LimitedServer("bucket", 0.1), 200, 1, deadline=math.inf, patience=60.0))
    assert all(isinstance(value, float) for value in took)
    assert seconds > 1800


@pytest.mark.parametrize("wait", [1e300, math.inf, 86400.0 * 365])
def test_an_absurd_wait_is_bounded(wait):
    """Whatever a server asks for, it is tried again after ten minutes."""
    pacer = Pacer(lambda: 100.0)
    pacer.refused(pacer.sent(), wait, "429")
    assert pacer.pause() == 600.0


class Clock:
    now = 10.0

    def __call__(self):
        return self.now


def paced(requests=0, rate=None):
    """A pacer that has sent some requests at second 10, its clock, and when they were sent."""
    clock = Clock()
    pacer = Pacer(clock)
    sent = [pacer.sent() for _ in range(requests)]
    if rate is not None:
        pacer.rate = rate
    return pacer, clock, sent


def test_without_a_refusal_there_is_no_limit():
    """Whatever was sent, the next request may be sent now."""
    pacer, clock, sent = paced(100)
    assert set(sent) == {10.0}
    assert (pacer.rate, pacer.delay(), pacer.pause()) == (math.inf, 0.0, 0.0)
    clock.now = 12.0
    pacer.answered()
    assert (pacer.rate, pacer.progress_at, pacer.reason) == (math.inf, 12.0, "")


def test_requests_are_as_far_apart_as_the_rate_says():
    """From the later of now and the time of the one before; unused time is not made up for."""
    pacer, clock, _ = paced(rate=4.0)
    pacer.sent()
    assert pacer.delay() == 0.25
    pacer.sent()
    assert pacer.delay() == 0.5
    clock.now = 20.0
    assert pacer.delay() == 0.0
    pacer.sent()
    assert pacer.delay() == 0.25
    assert pacer.pause() == 0.0


@pytest.mark.parametrize(("requests", "rate"), [(2, 0.7), (3, 1.4), (9, 5.6)])
def test_the_first_rate_is_measured(requests, rate):
    """70 % of what the server accepted in the last second, at least of 1 per second."""
    pacer, _, sent = paced(requests)
    pacer.refused(sent[-1], None, "429")
    assert (pacer.rate, pacer.pause(), pacer.reason) == (pytest.approx(rate), 0.25, "429")


def test_what_was_sent_a_second_ago_does_not_count():
    """Neither in the first rate, nor for whether the rate is used."""
    pacer, clock, _ = paced(5)
    clock.now = 10.5
    for _ in range(3):
        pacer.sent()
    clock.now = 11.0
    pacer.refused(pacer.sent(), None, "429")
    assert pacer.rate == pytest.approx(0.7 * 3)


def test_the_first_rate_is_not_that_of_a_slow_refusal():
    """Where nothing was sent in the second before, the server is assumed to have accepted one request."""
    pacer, clock, sent = paced(2)
    clock.now = 20.0
    pacer.refused(sent[0], None, "429")
    assert pacer.rate == 0.7


def test_refusals_of_one_burst_lower_the_rate_once():
    """The others were sent before the server had said anything."""
    pacer, clock, sent = paced(5)
    for moment in sent:
        pacer.refused(moment, None, "429")
    assert (pacer.rate, pacer.pause()) == (pytest.approx(0.7 * 4), 0.25)
    clock.now = 11.0
    again = [pacer.sent(), pacer.sent()]
    pacer.refused(again[0], None, "429")
    assert (pacer.rate, pacer.pause()) == (pytest.approx(0.49 * 4), 0.5)


def test_a_request_alone_was_not_one_of_too_many():
    """Its refusal makes a pause only, which doubles up to 8 seconds and begins anew after an answer."""
    pacer, clock, _ = paced(rate=2.0)
    pauses = []
    for _ in range(7):
        pacer.refused(pacer.sent(), None, "503")
        pauses.append(pacer.pause())
        clock.now += 100.0
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert pacer.rate == 2.0
    pacer.answered()
    pacer.refused(pacer.sent(), None, "503")
    assert pacer.pause() == 0.25


def test_a_time_that_the_server_names_is_trusted_twice():
    """After that the pause is at least our own."""
    pacer, clock, _ = paced()
    pauses = []
    for wait in (0.0, 0.1, 0.1, 3.0, 0.0):
        pacer.refused(pacer.sent(), wait, "429")
        pauses.append(pacer.pause())
        clock.now += 100.0
    assert pauses == pytest.approx([0.0, 0.1, 1.0, 3.0, 4.0])


def test_a_later_refusal_does_not_shorten_a_pause():
    """Of two times that a server names, the longer one counts."""
    pacer, _, sent = paced(2)
    pacer.refused(sent[0], 5.0, "429")
    pacer.refused(sent[1], 2.0, "429")
    assert (pacer.pause(), pacer.delay()) == (5.0, 5.0)


def test_the_rate_does_not_sink_below_one_in_20_seconds():
    """So that a server that accepts again is found."""
    pacer, _, sent = paced(2, rate=0.06)
    pacer.refused(sent[0], 0.0, "429")
    assert pacer.rate == 0.05


@pytest.mark.parametrize(("rate", "raised"), [(2.0, 2.25), (5.0, 5.1), (11.0, 11.05), (11.01, 11.01), (40.0, 40.0)])
def test_answers_raise_the_rate(rate, raised):
    """In a second of answers by half a request per second, or 5 % if that is more; not where it is hardly used."""
    pacer, _, _ = paced(5, rate)
    pacer.answered()
    assert pacer.rate == pytest.approx(raised)


async def answer():
    """A request that is answered at once."""
    return "answer"


@pytest.mark.parametrize(("until", "answered"), [(4.0, False), (4.01, True)])
def test_a_request_is_sent_before_the_deadline_or_not_at_all(until, answered):
    """Not at the deadline itself; the failure says for how long the server is not asked."""

    async def sending():
        loop = asyncio.get_running_loop()
        start, pacer = loop.time(), Pacer(loop.time)
        pacer.refused(pacer.sent(), 4.0, "429 too many")
        return await send_paced(pacer, asyncio.Lock(), answer, start + until)

    if answered:
        assert run(sending())[0] == "answer"
        return
    message = "429 too many; it is not asked for another 4.0 s, which is after the deadline"
    with pytest.raises(SlowDownError, match=f"^{message}$"):
        run(sending())


def test_a_rate_too_low_for_the_deadline_is_named():
    """Where there is no pause, the failure names the rate and what the server answered last."""

    async def sending():
        loop = asyncio.get_running_loop()
        pacer = Pacer(loop.time)
        sent = [pacer.sent(), pacer.sent()]
        pacer.refused(sent[0], 0.0, "429 too many")
        pacer.sent()
        return await send_paced(pacer, asyncio.Lock(), answer, loop.time() + 1)

    message = "it accepts 0.7 requests per second, too few for the deadline; its refusal: 429 too many"
    with pytest.raises(SlowDownError, match=f"^{message}$"):
        run(sending())


@pytest.mark.parametrize(("patience", "answered"), [(5.9, False), (6.0, True)])
def test_patience_counts_the_coming_pause(patience, answered):
    """A refusal after 2 seconds with a pause of 4 is final if patience is less than 6 seconds."""
    refusals = [SlowDownError("429", 4.0)]

    async def send():
        if refusals:
            await asyncio.sleep(2.0)
            raise refusals.pop()
        return "answer"

    async def sending():
        pacer = Pacer(asyncio.get_running_loop().time)
        return await send_paced(pacer, asyncio.Lock(), send, math.inf, patience)

    if answered:
        assert run(sending()) == ("answer", 6.0)
        return
    with pytest.raises(SlowDownError, match="429"):
        run(sending())
