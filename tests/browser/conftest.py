"""One chromium and one server for all tests of pages; the server has an index with mistakes and odd names."""

import pytest

pytest.importorskip("fastapi", reason="the extra `server` is not installed")

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from tests.helpers.browser import Visit, opened_browser, why_no_browser
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.live_server import LiveServer

if reason := why_no_browser():
    pytest.skip(reason, allow_module_level=True)

ODD = ("a/b", '"><img src=x onerror=alert(1)>', "..", "مرحبا", "🌷 tulip")  # labels


@pytest.fixture(scope="package")
def browser():
    """A chromium; it ends with these tests, because others cannot run a loop of events next to that of Playwright."""
    from playwright.sync_api import expect

    expect.set_options(timeout=20_000)
    with opened_browser() as made:
        yield made


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A dataset with an image under a wrong label and a copy, its index, and new images."""
    root = tmp_path_factory.mktemp("browser")
    draw_dataset(root / "dataset", count=8)
    draw_dataset(root / "new", count=2, seed=9)
    draw_dataset(root / "inbox", ("chevron", "leopard"), count=3)
    dataset = root / "dataset"
    (dataset / "stripes" / "00.png").rename(dataset / "gingham" / "wrong.png")
    (dataset / "polka_dots" / "copy.png").write_bytes((dataset / "polka_dots" / "00.png").read_bytes())
    config = offline_config(root / "index", rerank__enabled=False)
    build_index_from_directory(dataset, root / "index", config=config)
    images = sorted((root / "new").rglob("*.png"))
    IndexEditor(root / "index", config).add(images[: len(ODD)], list(ODD))
    return root


@pytest.fixture(scope="session")
def site(drawn):
    """A server on the index; tests undo what they change."""
    config = offline_config(drawn / "index", rerank__enabled=False, images__threads=2)
    config.server.roots = {"inbox": drawn / "inbox"}
    with LiveServer(config) as server:
        yield server


@pytest.fixture
def visit(browser, site):
    """Return a function that opens a window; at the end no window may have seen a fault that was not expected."""
    visits, expected = [], []

    def made(**options):
        visits.append(Visit(browser, site.url, **options))
        return visits[-1].page

    made.expected = expected.append
    yield made
    for opened in visits:
        opened.close()
    faults = [fault for opened in visits for fault in opened.faults]
    assert [fault for fault in faults if not any(text in fault for text in expected)] == []


@pytest.fixture
def page(visit):
    """A window."""
    return visit()
