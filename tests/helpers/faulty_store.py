"""A proxy before moto's S3 that answers some requests with an error, before or after the store has done them."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>try again</Message></Error>"


class Faults:
    """Which requests fail: every so many, and those PUTs whose names match, once each, after they are done."""

    def __init__(self, refused: float = 0.0, lost_answers: tuple[str, ...] = ()) -> None:
        self.refused, self.lost_answers = refused, lost_answers
        self.counts = {"refused": 0, "lost": 0}
        self._random, self._lock, self._seen = random.Random(0), threading.Lock(), set[str]()

    def refuses(self) -> bool:
        """Return whether to answer 503 before the store sees the request."""
        with self._lock:
            is_refused = self._random.random() < self.refused
            self.counts["refused"] += is_refused
            return is_refused

    def loses(self, method: str, path: str) -> bool:
        """Return whether to answer 500 although the store has done it."""
        with self._lock:
            is_lost = method == "PUT" and path not in self._seen and any(part in path for part in self.lost_answers)
            self._seen |= {path} if is_lost else set()
            self.counts["lost"] += is_lost
            return is_lost


@contextmanager
def faulty_store(url: str, faults: Faults) -> Iterator[str]:
    """Serve the store at `url` with faults; yield the URL to use instead."""
    there = urlsplit(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding", "") == "chunked":
                body = self._chunks()
            if faults.refuses():
                return self._answer(503, _ERROR % b"SlowDown")
            connection = http.client.HTTPConnection(there.hostname or "", there.port, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
            connection.request(self.command, self.path, body or None, {**headers, "Content-Length": str(len(body))})
            response = connection.getresponse()
            data = response.read()
            connection.close()
            if response.status == 200 and faults.loses(self.command, self.path):
                return self._answer(500, _ERROR % b"InternalError")
            return self._answer(response.status, data, dict(response.getheaders()))

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - the names of the library

        def _chunks(self) -> bytes:
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            length = (headers or {}).get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
