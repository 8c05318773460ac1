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
