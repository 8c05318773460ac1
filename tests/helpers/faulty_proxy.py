"""A proxy before an object store on this machine, which spoils the answers of chosen requests."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ERROR = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>try again</Message></Error>"

Fault = Callable[[str, str], str]  # method and path -> "", "before" (not passed on) or "after" (done, but refused)


@contextmanager
def faulty_proxy(host: str, port: int, fault: Fault, status: int = 500) -> Iterator[str]:
    """Yield the URL of a proxy; a request for which `fault` returns a word is answered by `status`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.body()
            kind = fault(self.command, self.path)
            if kind != "before":
                connection = http.client.HTTPConnection(host, port, timeout=60)
                left_out = ("connection", "transfer-encoding", "content-length")
                headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
            if kind:
                self.reply(status, [("Content-Type", "text/xml")], _ERROR)
            else:
                left_out = ("transfer-encoding", "content-length", "connection", "date", "server")
                kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in left_out]
                length = answer.getheader("Content-Length") if self.command == "HEAD" else None
                self.reply(answer.status, kept, data, length)
            if kind != "before":
                connection.close()

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def reply(self, code: int, headers: list[tuple[str, str]], data: bytes, length: str | None = None) -> None:
            self.send_response(code)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
