"""The server says what its start waits for, and a start that is not needed any more ends."""

import asyncio

from lmm_classifier.pipeline.slow_start import SlowStart
from lmm_classifier.server.app import create_app
from tests.helpers.encoders import ColorEncoder
from tests.server.conftest import settings_on


def test_readiness_says_what_a_start_waits_for(place, monkeypatch):
    """The index is not calibrated, so a rule is fitted: its stages are told one after the other."""
    state, reasons, tell = create_app(settings_on(place), ColorEncoder())[1], [], SlowStart.__call__

    def told(start, progress):
        tell(start, progress)
        reasons.append(state.why_not_ready())

    monkeypatch.setattr(SlowStart, "__call__", told)
    assert state.why_not_ready() == "the index and the encoder are being opened"

    async def open_and_close():
        await state.open()
        await state.close()

    asyncio.run(open_and_close())
    assert state.failure is None
    assert all(reason.startswith("the rule is fitted to the examples, because no stored") for reason in reasons)
    assert reasons[0].endswith(": choosing a metric, 1 of 10")
    assert "scoring held-out examples" in reasons[-1]


def test_a_start_ends_where_the_server_ends_meanwhile(place):
    """It is no failure, and nothing is open after it."""
    state = create_app(settings_on(place), ColorEncoder())[1]
    state.start_draining()

    async def open_and_close():
        await state.open()
        await state.close()

    asyncio.run(open_and_close())
    assert state.failure is None
    assert (
        state.why_not_ready()
        == "the rule is fitted to the examples, because no stored calibration fits: choosing a metric, 1 of 10"
    )
