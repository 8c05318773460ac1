"""How long the next image takes to be on the screen after a key, in a browser, and what the page loads at first."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rows import Row, where, write_rows
from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from scripts.chromium import FLAGS, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

COMMAND = "python -m benchmarks.review_keys --data DATA"
LEFT_OUT = ("hat", "shorts", "dress")  # labels that the index does not have
KEYS = "1u2u1x"
PER_LABEL = 60
PRESSES = 60
PAUSE = 300  # milliseconds between two keys: a fast person
# milliseconds from each key press until another image than before was drawn
WATCH = """
() => {
  window.keyTimes = [];
  const current = document.getElementById("current");
  document.addEventListener("keydown", () => {
    const pressed = performance.now();
    const before = current.dataset.item;
    const look = () => {
      const image = current.querySelector("img");
      const isDrawn = current.dataset.item !== before && image && image.complete && image.naturalWidth > 0;
      if (!isDrawn) requestAnimationFrame(look);
      else requestAnimationFrame(() => window.keyTimes.push(performance.now() - pressed));
    };
    requestAnimationFrame(look);
  }, true);
}
"""


def prepare(data: Path, folder: Path) -> None:
    """Lay out a dataset without some labels, and new images of all; build the index."""
    for label in sorted((data / "clothing" / "train").iterdir()):
        if label.name not in LEFT_OUT:
            copy(label, folder / "dataset" / label.name)
    shutil.copytree(data / "clothing" / "validation", folder / "new" / "validation")
    for name in LEFT_OUT:
        copy(data / "clothing" / "train" / name, folder / "new" / name)
    config = PipelineConfig.offline()
    config.retrieval.index_path = folder / "index"
    build_index_from_directory(folder / "dataset", folder / "index", config=config)


def copy(label: Path, to: Path) -> None:
    """Copy some images of a label."""
    to.mkdir(parents=True)
    for file in sorted(label.iterdir())[:PER_LABEL]:
        shutil.copy(file, to / file.name)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the index in a process of its own; yield its URL."""
    command = [sys.executable, "-m", "lmm_classifier", "serve", "--config", "offline", "--port", "0"]
    command += ["--index", str(folder / "index"), "--root", f"new={folder / 'new'}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "Listening at" in line)
        yield line.split("Listening at ")[1].split(";")[0]
    finally:
        process.terminate()
        process.wait()


def measure(page: Page, url: str) -> tuple[list[float], int]:
    """Return the milliseconds of each key press, and the bytes of the first load without images."""
    request = page.context.request
    while not request.get(f"{url}/readyz").ok:
        page.wait_for_timeout(100)
    run = request.post(f"{url}/v1/runs", data={"root": "new"}).json()["id"]
    while request.get(f"{url}/v1/runs/{run}").json()["state"] != "done":
        page.wait_for_timeout(500)
    answers = list[Any]()
    page.on("requestfinished", lambda answer: answers.append(answer))  # noqa: PLW0108 - Playwright marks the function
    page.goto(f"{url}/review/{run}")
    page.locator("#current[data-item]").wait_for()
    page.wait_for_timeout(2000)
    kinds = ("document", "script", "stylesheet", "fetch")
    sizes = [answer.sizes() for answer in answers if answer.resource_type in kinds]
    size = sum(each["responseBodySize"] + each["responseHeadersSize"] for each in sizes)
    page.evaluate(WATCH)
    for press in range(PRESSES):
        page.keyboard.press(KEYS[press % len(KEYS)])
        page.wait_for_function(
            "count => window.keyTimes.length > count || !document.getElementById('done').hidden", arg=press
        )
        if page.locator("#done").is_visible():
            break
        page.wait_for_timeout(PAUSE)
    return page.evaluate("window.keyTimes"), size


def main() -> None:
    """Measure, and write the rows."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with `clothing`")
    parser.add_argument("--chromium", default=chromium(), help="its executable")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        prepare(given.data, Path(name))
        browser = playwright.chromium.launch(executable_path=given.chromium, args=[*FLAGS])
        with serving(Path(name)) as url:
            times, size = measure(browser.new_page(viewport={"width": 1440, "height": 900}), url)
        described = (
            f"clothing, descriptor, {len(times)} answers, {PAUSE} ms after each, headless Chromium {browser.version}"
        )
        browser.close()
    place, spread = where("fastapi", "uvicorn"), f"{min(times):.1f} to {max(times):.1f}"
    rows = [
        Row(
            f"review: key to next image, {name}",
            round(float(value), 1),
            "ms",
            goal,
            "lower",
            described,
            place,
            COMMAND,
            spread,
        )
        for name, value, goal in (("median", np.median(times), None), ("p95", np.percentile(times, 95), 50.0))
    ]
    against = "document, styles, scripts and data of the first page"
    rows.append(Row("review: first load without images", size / 1000, "kB", 120, "lower", against, place, COMMAND))
    write_rows("review_keys", rows)


if __name__ == "__main__":
    main()
