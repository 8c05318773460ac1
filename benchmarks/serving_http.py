"""The HTTP server: its processor time an image, ten times too many requests, and clients that are slow on purpose.

The server is a process of its own, on the images and the encoder of `benchmarks.serving`. Its processor time is what
the system counts for it, without that of the clients. Clients are plain sockets that are kept open.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, run_part, where
from benchmarks.serving import draw_images, opened
from benchmarks.side_by_side import value_range

COMMAND = "python -m benchmarks.serving_http"
_TICK = os.sysconf("SC_CLK_TCK")
_DEADLINE = 2.0  # seconds, under overload
_OVERLOAD = 10  # times the capacity that is offered
_QUEUE = 32  # places, under overload
_BODY_SECONDS = 5.0


@dataclass
class ServerProcess:
    """A running server."""

    port: int
    process: subprocess.Popen[str]

    @property
    def processor_seconds(self) -> float:
        """Return the processor time of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def resident_megabytes(self) -> float:
        """Return its resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


@contextmanager
def served(index: Path, *settings: str) -> Iterator[ServerProcess]:
    """Start a server on an index, and wait until it is ready."""
    options = [
        option
        for setting in ("encoder.backend=lite", "rerank.enabled=false", *settings)
        for option in ("--set", setting)
    ]
    command = [sys.executable, "-m", "lmm_classifier", "serve", "--index", str(index), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = process.stderr
        port = next(int(found[0]) for line in lines if (found := re.findall(r"http://127.0.0.1:(\d+);", line)))
        threading.Thread(target=lambda: list(lines), daemon=True).start()
        server = ServerProcess(port, process)
        while Client(port).ask(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")[0] != 200:
            time.sleep(0.1)
        try:
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


class Client:
    """A connection that is kept open, and opened again where the server closes it."""

    def __init__(self, port: int, timeout: float = 60.0) -> None:
        self._port, self._timeout = port, timeout
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return status and body of the answer; the status 0 where the connection ended without one."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), self._timeout)
        try:
            self._socket.sendall(request)
            return self._answer(self._socket)
        except OSError:
            self.close()
            return 0, b""

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _answer(self, connection: socket.socket) -> tuple[int, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                self.close()
                return 0, b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(re.findall(rb"content-length: (\d+)", head)[0])
        while len(body) < length:
            body += connection.recv(65536)
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), body


def post(image: bytes, **headers: object) -> bytes:
    """Return a request with an image."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/jpeg\r\n{lines}"
    return f"{head}content-length: {len(image)}\r\n\r\n".encode() + image


def through_server(port: int, requests: Sequence[bytes], clients: int) -> list[bytes]:
    """Send requests by so many clients, each one after the other; return the bodies in order."""
    waiting = threading.local()

    def ask(request: bytes) -> bytes:
        if not hasattr(waiting, "client"):
            waiting.client = Client(port)
        status, body = waiting.client.ask(request)
        assert status == 200, (status, body)
        return body  # type: ignore[no-any-return]

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, requests))


@dataclass
class Answers:
    """The answers of one run: seconds of each by its status."""

    seconds: dict[int, list[float]] = field(default_factory=dict)

    def add(self, status: int, seconds: float) -> None:
        """Add an answer."""
        self.seconds.setdefault(status, []).append(seconds)

    def count(self, *statuses: int) -> int:
        """Return how many answers have one of these statuses."""
        return sum(len(self.seconds.get(status, ())) for status in statuses)

    def percentile(self, share: float, *statuses: int) -> float:
        """Return a percentile of the seconds."""
        values = [value for status in statuses for value in self.seconds.get(status, ())]
        return float(np.percentile(values, share)) if values else 0.0


def load(port: int, requests: Sequence[bytes], clients: int, seconds: float, pause: float = 0.0) -> Answers:
    """Let clients ask again and again, each for so many seconds."""
    answers, lock, end = Answers(), threading.Lock(), time.monotonic() + seconds

    def ask(number: int) -> None:
        client, place = Client(port), number
        while time.monotonic() < end:
            started = time.monotonic()
            status, _ = client.ask(requests[place % len(requests)])
            with lock:
                answers.add(status, time.monotonic() - started)
            place += clients
            time.sleep(pause)
        client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def processor_rows(quick: bool, place: str) -> list[Row]:
    """Measure processor time an image, and whether the answers are those of `classify`."""
    examples, count, rounds, wanted = (200, 32, 2, 100) if quick else (1_800, 96, 7, 2_000)
    with tempfile.TemporaryDirectory() as name, opened(examples) as classifier:
        paths = draw_images(Path(name), count, seed=1)
        images = [path.read_bytes() for path in paths]
        requests = [post(image) for image in images]
        (encoder,) = classifier.encoders
        inputs = [classifier.prepare(image).inputs[0] for image in images]
        with served(classifier.config.retrieval.index_path) as server:
            here = {
                "encoder": lambda: [encoder.encode(inputs[start : start + 16]) for start in range(0, count, 16)],
                "one by one": lambda: [classifier.classify(image) for image in images],
            }
            seconds: dict[str, list[float]] = {name: [] for name in (*here, "server 1", "server 8", "server 32")}
            for number in range(rounds + 1):
                for job, values in processor_seconds_once(here).items():
                    seconds[job] += [values] if number else []
                for clients in (1, 8, 32):
                    before = server.processor_seconds
                    through_server(server.port, requests, clients)
                    seconds[f"server {clients}"] += [server.processor_seconds - before] if number else []
            same = _identical(classifier, images, server.port, wanted)
    size = f"{examples:,} examples, {count} images of 320 x 320 px, {rounds} rounds"
    rows = [
        Row(
            f"HTTP: processor time, {job}",
            round(1000 * statistics.median(values) / count, 2),
            "ms/image",
            None,
            "lower",
            size,
            place,
            COMMAND,
            value_range([1000 * value / count for value in values]),
        )
        for job, values in seconds.items()
    ]
    for name, job, base, goal in (
        ("HTTP, 32 clients: share of the encoder alone", "server 32", "encoder", 0.75),
        ("HTTP, 32 clients: speed relative to classify() one by one", "server 32", "one by one", 1.4),
        ("HTTP, 1 client: speed relative to classify() one by one", "server 1", "one by one", 0.93),
    ):
        ratios = [first / second for first, second in zip(seconds[base], seconds[job], strict=True)]
        value = round(statistics.median(ratios), 2)
        rows.append(Row(name, value, "x", goal, "higher", size, place, COMMAND, value_range(ratios)))
    name = "HTTP, 32 clients: answers that are those of classify(), every bit"
    return [*rows, Row(name, 100 * same / wanted, "%", 100, "higher", f"{wanted:,} answers", place, COMMAND)]


def processor_seconds_once(jobs: dict[str, object]) -> dict[str, float]:
    """Return the processor seconds of one run of each job."""
    seconds = {}
    for name, job in jobs.items():
        started = time.process_time()
        job()  # type: ignore[operator]
        seconds[name] = time.process_time() - started
    return seconds


def _identical(classifier: object, images: Sequence[bytes], port: int, wanted: int) -> int:
    expected = [classifier.classify(image) for image in images]  # type: ignore[attr-defined]
    order = np.random.default_rng(2).integers(0, len(images), wanted).tolist()
    requests = [post(images[place]).replace(b"/v1/classify", b"/v1/classify?rounded=false") for place in order]
    same = 0
    for place, body in zip(order, through_server(port, requests, 32)):
        values, result = json.loads(body), expected[place]
        given = [values["label"], values["score"], values["similarity"], values["familiarity"], values["reason"]]
        given += [candidate["score"] for candidate in values["candidates"]]
        given += [neighbor["similarity"] for c in values["candidates"] for neighbor in c["neighbors"]]
        expecting = [result.label, result.score, result.similarity, result.familiarity, result.decision.reason]
        expecting += [candidate.score for candidate in result.candidates]
        expecting += [neighbor.similarity for c in result.candidates for neighbor in c.neighbors]
        same += given == expecting
    return same


def overload_rows(quick: bool, place: str) -> list[Row]:
    """Offer about ten times as many requests as the server can answer."""
    examples, seconds = (200, 5.0) if quick else (1_800, 60.0)
    with tempfile.TemporaryDirectory() as name, opened(examples) as classifier:
        images = [path.read_bytes() for path in draw_images(Path(name), 64, seed=1)]
        requests = [post(image, x_deadline_ms=int(1000 * _DEADLINE)) for image in images]
        index = classifier.config.retrieval.index_path
        with served(index, f"server.queue={_QUEUE}", f"server.deadline={_DEADLINE}") as server:
            load(server.port, requests, 32, seconds / 10)
            before = load(server.port, requests, 24, seconds / 4)
            memory = server.resident_megabytes
            pause = 300 / (_OVERLOAD * before.count(200) / (seconds / 4))
            answers = load(server.port, requests, 300, seconds, pause)
            grown = server.resident_megabytes - memory
            after = load(server.port, requests, 24, seconds / 4)
    capacity = (before.count(200) + after.count(200)) / (2 * seconds / 4)
    offered = sum(len(values) for values in answers.seconds.values()) / seconds
    against = f"300 clients, {offered:.0f} requests/s, capacity {capacity:.0f}/s, {seconds:.0f} s"
    counts = Counter({status: len(values) for status, values in answers.seconds.items()})
    print("overload:", dict(counts), f"p50 good {answers.percentile(50, 200):.3f} s")

    def row(name: str, value: float, unit: str, goal: float | None, better: str = "lower") -> Row:
        return Row(f"HTTP overload: {name}", round(value, 3), unit, goal, better, against, place, COMMAND)  # type: ignore[arg-type]

    others = sum(counts.values()) - answers.count(0, 200, 429, 504)
    return [
        row("good answers, share of the capacity", answers.count(200) / seconds / capacity, "x", 0.65, "higher"),
        row("p99 of good answers", answers.percentile(99, 200), "s", _DEADLINE),
        row("p99 of refusals", answers.percentile(99, 429), "s", _DEADLINE / 5),
        row("connections lost or hung", answers.count(0), "", 0),
        row("answers other than 200, 429 and 504", others, "", 0),
        row("resident memory, growth", grown, "MB", 64),
    ]


def slow_rows(quick: bool, place: str) -> list[Row]:
    """Let 100 clients never end their headers and 100 send a body a byte at a time, next to 8 good ones."""
    examples, seconds, slow = (200, 3.0, 20) if quick else (1_800, 20.0, 200)
    with tempfile.TemporaryDirectory() as name, opened(examples) as classifier:
        images = [path.read_bytes() for path in draw_images(Path(name), 64, seed=1)]
        requests = [post(image) for image in images]
        with served(classifier.config.retrieval.index_path) as server:
            load(server.port, requests, 8, seconds / 4)
            idle = load(server.port, requests, 8, seconds)
            lasted: list[float] = []
            threads = [threading.Thread(target=_trickle, args=(server.port, number, lasted)) for number in range(slow)]
            for thread in threads:
                thread.start()
            attacked = load(server.port, requests, 8, seconds)
            for thread in threads:
                thread.join()
    against = f"{slow} slow sockets, 8 good clients, {seconds:.0f} s"
    slower = attacked.percentile(99, 200) / idle.percentile(99, 200)
    cut = Row(
        "HTTP, slow sockets: longest life",
        round(max(lasted), 2),
        "s",
        _BODY_SECONDS + 1,
        "lower",
        against,
        place,
        COMMAND,
    )
    return [
        Row(
            "HTTP, slow sockets: p99 of good answers relative to none",
            round(slower, 2),
            "x",
            2,
            "lower",
            against,
            place,
            COMMAND,
        ),
        cut,
    ]


def _trickle(port: int, number: int, lasted: list[float]) -> None:
    head = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " if number % 2 else post(b"x" * 100_000)[:-100_000]
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 60) as connection, suppress(OSError):
        connection.sendall(head)
        connection.settimeout(0.5)
        while True:
            connection.sendall(b"y")
            with suppress(TimeoutError):
                connection.recv(65536)
                break
    lasted.append(time.monotonic() - started)


def rows(quick: bool = False) -> list[Row]:
    """Measure in about six minutes; with `quick` in one."""
    place = where("onnxruntime", "fastapi", "uvicorn", "httptools")
    return [*processor_rows(quick, place), *overload_rows(quick, place), *slow_rows(quick, place)]


if __name__ == "__main__":
    run_part("serving_http", __doc__, rows)
