"""A page of a server that follows another one says when its server makes the edits."""

import shutil
from contextlib import closing

import pytest
from playwright.sync_api import expect

from tests.helpers.browser import Visit
from tests.helpers.datasets import offline_config
from tests.helpers.live_server import LiveServer


@pytest.mark.long
def test_an_open_page_says_when_its_server_makes_the_edits(browser, drawn, tmp_path):
    """It asks now and then; a press loads the page again, with its acts."""
    shutil.copytree(drawn / "index", tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    config = offline_config(tmp_path / "index", rerank__enabled=False, images__threads=2)
    with (
        LiveServer(config.model_copy(deep=True)) as first,
        LiveServer(config) as second,
        closing(Visit(browser, second.url)) as visit,
    ):
        page, banner = visit.page, visit.page.locator("#reads")
        page.clock.install()
        page.goto("/dataset/labels/stripes")
        expect(banner).to_contain_text("another one makes the edits")
        with page.expect_response("**/v1/index"):
            page.clock.fast_forward(5000)
        expect(banner).to_contain_text("another one makes the edits")
        first.stop()
        second.wait_until(second.state.editing.take_over)
        page.clock.fast_forward(5000)
        expect(banner).to_contain_text("This server makes the edits now.")
        expect(page.get_by_role("button", name="Relabel")).to_have_count(0)
        banner.get_by_role("button", name="Load the page again").click()
        expect(page.get_by_role("button", name="Relabel")).to_be_visible()
        expect(banner).to_have_count(0)
        assert visit.faults == []
