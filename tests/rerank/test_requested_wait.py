"""The headers of a refusal: seconds, a date, a duration, and whatever else a server may write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.rerank.requested_wait import requested_wait

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT

CASES = [
    ({"retry-after": "7"}, 7.0), ({"retry-after": "1.5"}, 1.5), ({"retry-after": " 3 "}, 3.0),
    ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0), ({"retry-after": "Sunday, 06-Nov-94 08:49:47 GMT"}, 10.0),
    ({"retry-after": "Sun Nov  6 08:49:47 1994"}, 10.0), ({"retry-after": "Sun, 06 Nov 1994 08:00:00 GMT"}, 0.0),
    ({"retry-after": "Sun, 06 Nov 1994 09:00:10 GMT", "date": "Sun, 06 Nov 1994 09:00:00 GMT"}, 10.0),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25), ({"retry-after": "-5"}, 0.0), ({"retry-after": "0"}, 0.0),
    ({"retry-after": "6m0s"}, 360.0), ({"x-ratelimit-reset-requests": "20ms"}, 0.02),
    ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "2s"}, 2.0),
    ({"x-ratelimit-reset-tokens": "2s", "x-ratelimit-remaining-tokens": "100"}, None),
    ({"x-ratelimit-reset": str(int(NOW) + 2_000_000_000)}, 2e9), ({"retry-after": "1e400"}, None),
    ({"retry-after": "nan"}, None), ({"retry-after": "soon"}, None), ({"retry-after": ""}, None), ({}, None),
    ({"retry-after": "١"}, None), ({"retry-after": "9" * 5000}, None), ({"retry-after": "Sun, 99 Nov 1994"}, None),
    ({"retry-after": "1d2h3m4s"}, 93784.0), ({"retry-after": "1.5H"}, 5400.0), ({"retry-after": "250ms"}, 0.25),
    ({"retry-after": "1s soon"}, None), ({"retry-after": "   "}, None), ({"retry-after-ms": "-250"}, 0.0),
    ({"retry-after": "7".rjust(64)}, 7.0), ({"retry-after": "7".rjust(65)}, None),
    ({"retry-after-ms": "7".rjust(64)}, 0.007), ({"retry-after-ms": "7".rjust(65)}, None),
    ({"retry-after": "7s".rjust(64)}, 7.0), ({"retry-after": "7s".rjust(65)}, None),
    ({"retry-after": "1000000000"}, 1e9), ({"retry-after": "1000000001"}, 1_000_000_001 - NOW),
    ({"retry-after": f"{NOW - 9:.0f}"}, NOW - 9), ({"x-ratelimit-reset": "-9"}, 0.0),
    ({"retry-after": "Sun, 06 Nov 1994 09:49:47 +0100"}, 10.0),
    ({"retry-after": "Sun, 06 Nov 1994 08:49:47 -0000"}, 10.0),
    ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "soon"}, 10.0),
    ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": "Sun, 06 Nov 1994 08:49:37 GMT".rjust(65)}, 10.0),
    ({"retry-after": "Sun, 06 Nov 1994 09:00:10 GMT", "date": "Sun, 06 Nov 1994 09:00:00 GMT".rjust(64)}, 10.0),
    ({"x-ratelimit-reset-tokens": "2s", "x-ratelimit-remaining-tokens": "0"}, 2.0),
    ({"x-ratelimit-reset-tokens": "2s", "x-ratelimit-remaining-tokens": "0.9"}, 2.0),
    ({"x-ratelimit-reset-tokens": "2s", "x-ratelimit-remaining-tokens": "1"}, None),
    ({"x-ratelimit-reset-tokens": "2s", "x-ratelimit-remaining-requests": "9"}, 2.0),
    ({"ratelimit-reset": "3", "ratelimit-remaining": "0", "x-ratelimit-reset-requests": "soon"}, 3.0),
    ({"retry-after": "soon", "x-ratelimit-reset": "4"}, 4.0), ({"retry-after": "3", "x-ratelimit-reset": "4"}, 3.0),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "seconds"), CASES)
def test_waits(headers, seconds):
    """A readable header gives seconds of 0 or more, anything else None."""
    assert requested_wait(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


NAMES = ["retry-after", "retry-after-ms", "date", "x-ratelimit-reset", "x-ratelimit-reset-requests"]


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.text("0123456789.:+-eE infantSunGMTms,", max_size=40) | st.floats().map(str) | st.integers().map(str),
    )
)
def test_any_headers(headers):
    """Any text gives None or a number of seconds that is not negative."""
    wait = requested_wait(headers, NOW)
    assert wait is None or wait >= 0
