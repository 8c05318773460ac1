"""Makes the images of the pages in docs/images, as Chromium shows them: on a small dataset that is drawn.

With --index, shows the pages of that index instead, at three widths, light and dark, for looking at them.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.cli.demo_data import draw_demo_data
from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.server.pages.environment import segment
from lmm_classifier.server.run import open_server, url_of
from lmm_classifier.server.state import ServerState
from scripts.chromium import FLAGS, chromium

TARGET = Path(__file__).parents[1] / "docs/images"
WIDTHS = {"phone": (390, 844), "tablet": (820, 1180), "desktop": (1440, 900)}
PATIENCE = 600  # seconds


@contextmanager
def served(config: PipelineConfig) -> Iterator[tuple[str, ServerState]]:
    """Yield the address of a server that is ready, and its state."""
    config.server.port = 0
    server, listening = open_server(config)
    thread = Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    try:
        wait_until(lambda: not server.state.why_not_ready())
        server.state.auditing.start()
        wait_until(lambda: server.state.auditing.view().state != "running")
        yield url_of(listening), server.state
    finally:
        server.handle_exit(15, None)
        thread.join()
        listening.close()


def wait_until(condition: Any) -> None:
    """Wait until something is so; exit where that takes too long."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            sys.exit("The server is not ready.")
        time.sleep(0.05)


def addresses(state: ServerState) -> dict[str, str]:
    """Return the pages by their names."""
    label = next(iter(state.ids.rows_by_label))
    return {
        "classify": "/",
        "review": "/review",
        "dataset": "/dataset",
        "label": f"/dataset/labels/{segment(label)}",
        "suspects": "/dataset/audit/suspects",
        "duplicates": "/dataset/audit/duplicates",
        "outliers": "/dataset/audit/outliers",
        "map": "/map",
        "quality": "/quality",
        "edits": "/edits",
        "docs": "/docs",
        "problem": "/problems/queue-full",
    }


def take(page: Any, pages: dict[str, str], image: Path, target: Path, ending: str, whole: bool) -> None:
    """Write an image of each page, and of the answer to an image."""
    for name, address in pages.items():
        page.goto(address, wait_until="load" if name == "review" else "networkidle")
        if name == "review" and address != "/review":
            page.wait_for_selector("#current[data-item]")
            page.wait_for_load_state("networkidle")
        if name == "map":
            page.wait_for_selector("#map-canvas[data-sight]")
            page.wait_for_load_state("networkidle")
        page.screenshot(path=target / f"{name}{ending}.png", full_page=whole and name != "docs")
    page.goto("/")
    page.set_input_files("#file", image)
    page.wait_for_selector("article[data-id]")
    page.wait_for_load_state("networkidle")
    page.screenshot(path=target / f"answer{ending}.png", full_page=whole)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, serve, and take the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, help="show this index, with the settings of `--config offline`")
    parser.add_argument("--image", type=Path, help="the image to classify, where --index is given")
    parser.add_argument("--output", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    if (options.index is None) != (options.image is None):
        parser.error("give --index and --image together")
    browser = chromium()
    if browser is None:
        sys.exit("No browser found. Install Chromium.")
    with tempfile.TemporaryDirectory() as folder:
        config, image = drawn(Path(folder)) if options.index is None else (settings_of(options.index), options.image)
        options.output.mkdir(parents=True, exist_ok=True)
        with served(config) as (url, state):
            show(browser, url, state, image, options)


def show(browser: str, url: str, state: ServerState, image: Path, options: argparse.Namespace) -> None:
    """Open the pages in the browser: the ones of the documents, or all of them in all views."""
    from playwright.sync_api import sync_playwright

    pages = addresses(state)
    views = [(name, scheme) for name in WIDTHS for scheme in ("light", "dark")]
    if options.index is None:
        views, pages = [("desktop", "light")], {name: pages[name] for name in ("dataset", "suspects", "map", "quality")}
        run = state.reviews.create("new", "")
        wait_until(lambda: state.reviews.reviewer.runs.run(run.id).state == "done")
        pages["review"] = f"/review/{run.id}"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser, args=[*FLAGS])
        for width, scheme in views:
            wide, high = WIDTHS[width]
            window = {"width": wide, "height": high}
            context = opened.new_context(base_url=url, viewport=window, color_scheme=scheme, reduced_motion="reduce")
            ending = "" if options.index is None else f"-{width}-{scheme}"
            take(context.new_page(), pages, image, options.output, ending, options.index is not None)
            context.close()
        opened.close()


def settings_of(index: Path) -> PipelineConfig:
    """Return settings without weights on an index."""
    config = PipelineConfig.offline()
    config.retrieval.index_path = index
    config.set("rerank.enabled=false")
    return config


def drawn(folder: Path) -> tuple[PipelineConfig, Path]:
    """Return settings on a calibrated index of drawn images with two mistakes, and a new image."""
    dataset, new = draw_demo_data(folder / "demo", 0)
    config = settings_of(folder / "patterns")
    config.server.roots = {"new": new}
    first, second, *_ = sorted(path for path in dataset.iterdir() if path.is_dir())
    moved = sorted(first.iterdir())[0]
    moved.rename(second / f"{first.name}-{moved.name}")
    shutil.copy(sorted(second.iterdir())[-1], second / "copy.png")
    build_index_from_directory(dataset, config.retrieval.index_path, config=config)
    calibrate_index(config.retrieval.index_path, config, CalibrationRequest(0.95))
    return config, next(path for path in sorted(new.rglob("*")) if path.is_file())


if __name__ == "__main__":
    main()
