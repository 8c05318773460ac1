"""The browser of the system, as tests, screenshots and benchmarks start it: without a window, and asking nobody."""

from __future__ import annotations

import shutil

_NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """Return the path of the browser, None where there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)
