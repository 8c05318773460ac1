"""A browser for tests of the pages; nothing that it loads may come from elsewhere."""

import contextlib

from scripts.chromium import FLAGS, chromium

CHROMIUM = chromium()
PHONE, TABLET, DESKTOP = (
    {"width": 390, "height": 844},
    {"width": 820, "height": 1180},
    {"width": 1440, "height": 900},
)


def why_no_browser():
    """Return why no page can be opened here, "" where one can."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return "chromium is not installed" if CHROMIUM is None else ""


@contextlib.contextmanager
def opened_browser():
    """Yield a chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page with what went wrong on it: messages of the console, and requests that leave the server."""

    def __init__(self, browser, url, **options):
        self.faults = []
        self.context = browser.new_context(base_url=url, **{"viewport": DESKTOP, "reduced_motion": "reduce", **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.page.on("console", self._on_message)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url, url))

    def _on_message(self, message):
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _asked(self, address, url):
        if not address.startswith((url, "blob:", "about:")):
            self.faults.append(f"a request to {address}")

    def close(self):
        """Close the page."""
        self.context.close()
