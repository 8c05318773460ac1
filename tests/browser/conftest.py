"""One Chromium for all tests, a server on an index of a test's own, and pages that fail on any foreign request."""

import os
import shutil
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra `server` is not installed")
pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

from playwright.sync_api import sync_playwright

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.live_server import LiveServer

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LABELS = ("stripes", "polka_dots", "checkerboard", "argyle")
WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1440}


@pytest.fixture(scope="session")
def chromium():
    """The browser of the system; Playwright brings none here."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; the variable CHROMIUM may name it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A calibrated index of drawn patterns, and new images, some of a pattern that it does not know."""
    root = tmp_path_factory.mktemp("browser")
    draw_dataset(root / "dataset", LABELS, count=8, size=64)
    draw_dataset(root / "new", (*LABELS, "chevron"), count=4, seed=7, size=64)
    config = offline_config(root / "index")
    build_index_from_directory(root / "dataset", root / "index", config=config)
    calibrate_index(root / "index", config)
    return root


@pytest.fixture
def place(built, tmp_path):
    """A copy of the index for the test alone."""
    shutil.copytree(built / "index", tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    return tmp_path


@pytest.fixture
def settings(built, place):
    """The settings of the server: no reranker, and the folder of new images as a root."""
    config = offline_config(place / "index", rerank__enabled=False)
    config.server.roots = {"new": built / "new"}
    return config


@pytest.fixture
def server(settings):
    """A server on the copy."""
    with LiveServer(settings) as live:
        yield live


@pytest.fixture
def open_page(chromium, request):
    """Return a function that opens a page of a server; a message of the console or a foreign request is an error."""
    contexts, faults = [], []

    def open_page(url, width="desktop", scheme="light", **options):
        context = chromium.new_context(
            viewport={"width": WIDTHS[width], "height": 900}, color_scheme=scheme, reduced_motion="reduce", **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        origin = "/".join(url.split("/")[:3])
        page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("request", lambda asked: None if _is_own(asked.url, origin) else faults.append(f"asked {asked.url}"))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    expected = getattr(request.function, "expected_faults", ())
    assert [fault for fault in faults if not any(text in fault for text in expected)] == []


def _is_own(url, origin):
    return url.startswith((f"{origin}/", "blob:", "about:"))


def files_below(folder):
    """Return the images below a folder, in order."""
    return sorted(Path(folder).rglob("*.png"))
