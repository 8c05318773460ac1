"""How well the map of a dataset keeps labels together, what it costs, and how fast a browser draws it.

Larger datasets are the vectors of clothing with copies of them, each with noise.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.quality_data import LabeledVectors, encode_folder, index_of
from benchmarks.rows import Better, Row, where, write_rows
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.discovery.example_map import MOST, ExampleMap, map_vectors
from lmm_classifier.discovery.layout import first_positions
from scripts.chromium import FLAGS, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Route

COMMAND = "python -m benchmarks.dataset_map --data DATA --models MODELS"
NEAREST = 10
NOISE = 0.5  # standard deviations of each number
FRAMES = 40
_HOST = "http://map.test"
_PAGE = '<!doctype html><link rel="icon" href="data:,"><canvas style="display:block;width:100vw;height:62vh"></canvas>'
MEASURE = """
async (frames) => {
  const { load } = await import("/map_points.js");
  const { MapView } = await import("/map_view.js");
  const started = performance.now();
  const { points } = await load();
  const view = new MapView(document.querySelector("canvas"));
  view.points = points;
  view.fit();
  view.drawNow();
  const loaded = performance.now() - started;
  const times = [];
  for (let frame = 0; frame < frames; frame += 1) {
    view.zoom = 1 + frame / frames;
    times.push(view.drawNow());
  }
  const circle = [...Array(60).keys()].map((corner) => [5 * Math.cos(corner / 9.5), 5 * Math.sin(corner / 9.5)]);
  const before = performance.now();
  points.inside(circle, () => true);
  return { loaded, times, lasso: performance.now() - before };
}
"""


def share(positions: Float32Array, labels: np.ndarray[tuple[int], np.dtype[np.str_]]) -> float:
    """Return how many of the nearest points (n, 2) have the same label, in percent."""
    same = 0
    for start in range(0, len(positions), 512):
        block = np.arange(start, min(start + 512, len(positions)))
        apart = np.square(positions[block, None] - positions).sum(axis=2)
        apart[block - start, block] = np.inf
        nearest = np.argpartition(apart, NEAREST, axis=1)[:, :NEAREST]
        same += int((labels[nearest] == labels[block, None]).sum())
    return 100 * same / (NEAREST * len(positions))


def grown(images: LabeledVectors, count: int) -> LabeledVectors:
    """Return the images with noisy copies of them."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.arange(len(images.labels)), rng.integers(0, len(images.labels), count)])[:count]
    vectors = images.vectors[rows]
    copies = vectors[len(images.labels) :]
    copies += (rng.normal(size=copies.shape) * (NOISE * images.vectors.std(axis=0))).astype(np.float32)
    vectors = np.maximum(vectors, 0)
    return LabeledVectors(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), images.labels[rows])


def quality(images: LabeledVectors) -> list[Row]:
    """Measure how well labels are kept together, also of images whose labels the metric does not know."""
    row = partial(_row, unit="%", better="higher", against=f"clothing, MobileNetV2, {NEAREST} nearest")
    seen = ExampleMap.of([index_of(images)]).positions
    axes = first_positions(map_vectors([index_of(images)], np.arange(len(images.labels))))
    hidden = np.random.default_rng(0).permutation(len(images.labels))[: len(images.labels) // 2]
    labels = images.labels.astype(object)
    labels[hidden] = [f"unknown {number}" for number in hidden]  # one image of a label tells nothing of the metric
    unseen = ExampleMap.of([index_of(LabeledVectors(images.vectors, labels.astype(str)))]).positions[hidden]
    return [
        row("map: nearest on the map with the same label", share(seen, images.labels), goal=81),
        row("map: the same, where the metric does not know the labels", share(unseen, images.labels[hidden])),
        row("map: the same as the first, by the two main axes alone", share(axes, images.labels)),
    ]


def cost(images: LabeledVectors, count: int, goal: float | None) -> list[Row]:
    """Measure the processor time of a map, and how far points move when examples are added."""
    whole = grown(images, count)
    index, fewer = index_of(whole), index_of(whole.at(slice(0, count - 20)))
    former = ExampleMap.of([fewer])
    started = time.process_time()
    ExampleMap.of([index])
    seconds = time.process_time() - started
    again = ExampleMap.of([index], former).positions[: count - 20]
    moved = np.linalg.norm(again - former.positions, axis=1) / np.ptp(former.positions, axis=0).max()
    data = f"{count:,} examples, 1,280 numbers each"
    return [
        _row(f"map: processor time, {count:,} examples", seconds, "s", "lower", data, goal),
        _row(
            f"map: moved by 20 new examples, {count:,}", 100 * float(np.median(moved)), "% of the width", "lower", data
        ),
    ]


def browser(images: LabeledVectors) -> list[Row]:
    """Measure in Chromium how long a map of the largest size takes to load, and a frame and a lasso of it."""
    from playwright.sync_api import sync_playwright

    labels, places = np.unique(grown(images, MOST).labels, return_inverse=True)
    records = np.empty(MOST, [("x", "<i2"), ("y", "<i2"), ("label", "<u2")])
    spread = np.random.default_rng(0).normal(scale=3000, size=(2, MOST))
    records["x"], records["y"], records["label"] = *spread.astype(np.int16), places
    ids = [f"{number:064x}" for number in range(MOST)]
    known = {"labels": labels.tolist(), "ids": ids, "paths": ids, "uncertainty": [0] * MOST, "is_sample": False}
    bodies: dict[str, str | bytes] = {"/": _PAGE, "/v1/map": records.tobytes(), "/v1/map/ids": json.dumps(known)}

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix(_HOST)
        body = bodies.get(path) or files("lmm_classifier.server.pages").joinpath("static", path[1:]).read_bytes()
        kind = "text/javascript" if path.endswith(".js") else "text/html"
        route.fulfill(body=body, headers={"content-type": kind, "etag": '"1"', "x-map-state": "current"})

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS])
        page = opened.new_page(viewport={"width": 1440, "height": 900})
        page.route(f"{_HOST}/**", answer)
        page.goto(f"{_HOST}/")
        measured = page.evaluate(MEASURE, FRAMES)
        data = f"{MOST:,} points in a window of 1440 x 900, headless Chromium {opened.version} without a GPU"
        opened.close()
    times = sorted(measured["times"])
    row = partial(_row, unit="ms", better="lower", against=data)
    return [
        row("map: a frame, median", times[len(times) // 2], goal=16),
        row("map: a frame, slowest of 40", times[-1]),
        row("map: a lasso of 60 corners", measured["lasso"]),
        row("map: load and first frame", measured["loaded"], goal=2000),
    ]


def _row(name: str, value: float, unit: str, better: Better, against: str, goal: float | None = None) -> Row:
    return Row(name, round(value, 1), unit, goal, better, against, where(), COMMAND)


def main() -> None:
    """Measure, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with `clothing`")
    parser.add_argument("--models", type=Path, required=True, help="folder with mobilenet_v2")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        images = encode_folder(given.data / "clothing" / "train", given.models, Path(work))
    rows = [*quality(images), *cost(images, 20_000, 25), *cost(images, MOST, None), *browser(images)]
    write_rows("dataset_map", rows)


if __name__ == "__main__":
    main()
