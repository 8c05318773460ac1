"""A server on a socket of this machine, and raw requests to it."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass, field

from lmm_classifier.server.run import open_server, url_of

PATIENCE = 60  # seconds after which a test gives up


@dataclass
class Reply:
    """An answer, as it came over the socket."""

    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self):
        return json.loads(self.body)


class LiveServer:
    """A server that runs in a thread; `state` is what its routes share."""

    def __init__(self, config, encoder=None):
        config.server.port = 0
        self._server, self._listening = open_server(config, encoder)
        self.state, self.url = self._server.state, url_of(self._listening)
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        asyncio.run(self._server.serve([self._listening]))

    def __enter__(self):
        self._thread.start()
        self.wait_until(lambda: not self.state.why_not_ready())
        return self

    def __exit__(self, *_):
        self.stop()
        self.wait_until(lambda: not self._thread.is_alive())
        self._listening.close()

    def stop(self):
        """Do what SIGTERM does."""
        if not self._server.should_exit:
            self._server.handle_exit(15, None)

    @property
    def connections(self):
        """How many connections are open."""
        return len(self._server.server_state.connections)

    def socket_options(self, level, option):
        """Return an option of each connection that is open."""
        transports = [connection.transport for connection in self._server.server_state.connections]
        return [transport.get_extra_info("socket").getsockopt(level, option) for transport in transports]

    def shrink_buffers(self):
        """Let the system keep little of an answer that a client does not read."""
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def wait_until(self, condition):
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "the server did not get there"
            time.sleep(0.005)

    def connect(self):
        """Return an open connection."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def ask(self, data):
        """Send bytes on a connection of their own, and return the first answer."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_reply(connection)


def request(method, path, body=b"", **headers):
    """Return the bytes of a request; `_` in the name of a header stands for `-`."""
    given = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body or method in ("POST", "PATCH", "DELETE"):
        given.setdefault("content-length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def read_reply(connection):
    """Return the next answer of a connection, None where it ends without a whole one."""
    with contextlib.suppress(ConnectionResetError):
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
        length = int(headers.get("content-length", "0"))
        while len(body) < length:
            if not (more := connection.recv(65536)):
                return None
            body += more
        return Reply(int(first.split()[1]), headers, body)
    return None


def is_closed(connection):
    """Read until the other side closes the connection; return whether it did."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True
