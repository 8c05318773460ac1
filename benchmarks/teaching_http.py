"""Teaching over HTTP: what it costs those who classify, when it counts, and what a killed server loses.

The server is a process of its own with the encoder of `lite`. The large index has random vectors around the center of
each label; the images that are classified and taught are drawn.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row, run_part, where
from benchmarks.serving import draw_images
from benchmarks.serving_http import Client, ServerProcess, load, post, served
from benchmarks.side_by_side import value_range
from benchmarks.vectors import normalized
from lmm_classifier.config import PipelineConfig
from lmm_classifier.embeddings.opening import open_encoder
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.review.checks import check_runs

COMMAND = "python -m benchmarks.teaching_http"
_LABELS, _CLIENTS, _PAUSE = 100, 4, 0.1  # seconds between two requests of a client
_TEACHES = 200


def config_of(index: Path) -> PipelineConfig:
    """Return the settings of the server, and of what is measured next to it."""
    return PipelineConfig.model_validate(
        {"encoder": {"backend": "lite"}, "rerank": {"enabled": False}, "retrieval": {"index_path": str(index)}}
    )


def make_index(path: Path, count: int) -> None:
    """Write an index of so many examples with random vectors."""
    encoder = open_encoder(config_of(path).encoder)
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(_LABELS, encoder.fingerprint.dim)).astype(np.float32)
    label_ids = np.sort(rng.integers(0, _LABELS, count))
    vectors = normalized(centers[label_ids] + rng.normal(size=(count, centers.shape[1])).astype(np.float32))
    paths = [f"label {label:03}/{row:06}.jpg" for row, label in enumerate(label_ids)]
    labels = [path.partition("/")[0] for path in paths]
    hashes = [hashlib.sha256(path.encode()).hexdigest() for path in paths]
    manifest = Manifest((EncoderEntry(encoder.fingerprint, "identity"),), count, "dataset", "2026-01-01", "0")
    write_index(path, IndexContents(manifest, labels, paths, hashes, (EncoderVectors({}, lambda: [vectors]),)))


def teach_request(image: bytes, label: str) -> bytes:
    """Return a request that adds an image."""
    parts = (
        b'--b\r\ncontent-disposition: form-data; name="image"; filename="x.jpg"\r\n\r\n' + image + b"\r\n",
        b'--b\r\ncontent-disposition: form-data; name="label"\r\n\r\n' + label.encode() + b"\r\n--b--\r\n",
    )
    body = b"".join(parts)
    head = "POST /v1/examples HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def teaching(port: int, images: Sequence[bytes], seconds: list[float]) -> Iterator[None]:
    """Teach an image a second until the block ends; the seconds are those until it counts."""
    ended = threading.Event()

    def teach() -> None:
        client = Client(port)
        for image in images:
            started = time.monotonic()
            status, body = client.ask(teach_request(image, "label 000"))
            assert status == 201, (status, body)
            assert json.loads(body)["visible"], body
            seconds.append(time.monotonic() - started)
            if ended.wait(max(1 - (time.monotonic() - started), 0)):
                return

    thread = threading.Thread(target=teach)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def teaching_rows(quick: bool, place: str) -> list[Row]:
    """Measure how teaching once a second holds those who classify, with and without a calibration."""
    count, seconds = (2_000, 10.0) if quick else (20_000, 60.0)
    rows = []
    for calibrated in (True, False):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            make_index(root / "index", count)
            if calibrated:
                calibrate_index(root / "index", config_of(root / "index"))
            images = [path.read_bytes() for path in draw_images(root / "new", 400, 5)]
            requests = [post(image) for image in images[:200]]
            with served(root / "index") as server:
                load(server.port, requests, _CLIENTS, seconds / 6, _PAUSE)
                ratios, visible = [], list[float]()
                for turn in range(2):
                    alone = load(server.port, requests, _CLIENTS, seconds / 2, _PAUSE)
                    with teaching(server.port, images[200 + 100 * turn :][:100], visible):
                        taught = load(server.port, requests, _CLIENTS, seconds / 2, _PAUSE)
                    assert set(alone.seconds) == set(taught.seconds) == {200}
                    ratios.append(taught.percentile(99, 200) / alone.percentile(99, 200))
        kind = "calibrated" if calibrated else "not calibrated"
        data = f"{count:,} examples, {kind}; {_CLIENTS} clients, {len(visible)} taught, one a second"
        spread = value_range(ratios)
        name = f"HTTP teaching, {kind}: p99 of classify / p99 without teaching"
        rows.append(Row(name, round(statistics.median(ratios), 2), "x", 2, "lower", data, place, COMMAND, spread))
        name, spread = f"HTTP teaching, {kind}: until it counts, slowest", value_range(visible)
        rows.append(Row(name, round(max(visible), 2), "s", 3, "lower", data, place, COMMAND, spread))
    return rows


def digest(index: Path) -> str:
    """Return a digest of what answers: contents and labels."""
    contents = read_index(index)
    return hashlib.sha256(json.dumps(sorted(zip(contents.hashes, contents.labels))).encode()).hexdigest()


def kill_rows(quick: bool, place: str) -> list[Row]:
    """Kill the server again and again while it is taught, then undo everything."""
    teaches, rng = 40 if quick else _TEACHES, random.Random(3)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_index(root / "index", 500)
        first = digest(root / "index")
        images = [path.read_bytes() for path in draw_images(root / "new", teaches, 6)]
        acknowledged, kills = set[str](), 0
        waiting = list(images)
        while waiting:
            with served(root / "index") as server:
                waiting, killed = _teach_until_killed(server, waiting, acknowledged, rng.uniform(0.05, 1.5))
                kills += killed
            assert not [finding for finding in _findings(root / "index") if finding.severity == "damage"]
        held = set(read_index(root / "index").hashes)
        lost = len(acknowledged - held)
        half = len(held - {hashlib.sha256(image).hexdigest() for image in images}) - 500
        with served(root / "index") as server:
            _undo_everything(server.port)
        differs = int(digest(root / "index") != first)
    data = f"{teaches} images, {kills} kills"
    return [
        Row("HTTP teaching, kill -9: acknowledged and lost", lost, "images", 0, "lower", data, place, COMMAND),
        Row("HTTP teaching, kill -9: half done", half, "images", 0, "lower", data, place, COMMAND),
        Row("HTTP teaching, kill -9: differs after undoing all", differs, "indexes", 0, "lower", data, place, COMMAND),
    ]


def _findings(index: Path) -> list[object]:
    return [*check_index(index, repair=True), *check_runs(index, repair=True)]


def _teach_until_killed(
    server: ServerProcess, images: list[bytes], acknowledged: set[str], after: float
) -> tuple[list[bytes], int]:
    """Teach images; return those that are left when the server is killed, and whether it was."""
    timer = threading.Timer(after, server.process.send_signal, (signal.SIGKILL,))
    timer.start()
    client = Client(server.port)
    while images:
        try:
            status, _ = client.ask(teach_request(images[0], f"taught {len(images) % 7}"))
        except OSError:
            status = 0
        if status == 0:
            return images, 1  # the next server is asked again: the image may be an example already
        assert status in (200, 201), status
        acknowledged.add(hashlib.sha256(images[0]).hexdigest())
        images = images[1:]
    timer.cancel()
    return images, 0


def _undo_everything(port: int) -> None:
    """Undo all edits but the first, which made the index, the newest first."""
    client, body, before = Client(port), b"{}", ""
    edits: list[dict[str, Any]] = []
    while before is not None:
        address = f"/v1/edits{f'?before={before}' if before else ''}"
        status, text = client.ask(f"GET {address} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert status == 200, text
        edits, before = [*edits, *json.loads(text)["edits"]], json.loads(text)["next"]
    for edit in edits[:-1]:
        head = f"POST /v1/edits/{edit['id']}/undo?visible=false HTTP/1.1\r\nhost: localhost\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        status, text = client.ask(head.encode() + body)
        assert status == 200, text


def rows(quick: bool = False) -> list[Row]:
    """Measure in about fifteen minutes; with `quick` on small indexes."""
    place = where("fastapi", "uvicorn")
    return [*kill_rows(quick, place), *teaching_rows(quick, place)]


if __name__ == "__main__":
    run_part("teaching_http", __doc__, rows)
