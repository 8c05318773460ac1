"""Run the server until a signal asks it to end: stop taking requests, answer those inside, then end."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType

import uvicorn

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.server.app import create_app
from lmm_classifier.server.security.deadlines import DeadlineProtocol
from lmm_classifier.server.state import ServerState

_SPARE = 2.0  # seconds after the images were answered, to send the answers


class GracefulServer(uvicorn.Server):
    """A server that drains on the first signal, and ends at once on the second; it raises no signal again."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self.state = state
        self.on_start: Callable[[], None] | None = None  # called when requests and signals are answered
        self._loop: asyncio.AbstractEventLoop | None = None  # None: nothing was opened that could be drained

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, then say so: from here on a signal drains."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.on_start is not None:
            self.on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is uvicorn's
        """Begin to drain, or end at once."""
        # the rest in the loop: the signal may have stopped this thread while it holds a lock
        self.state.is_draining = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.state.start_draining)
        self.force_exit: bool = self.should_exit
        self.should_exit = True


def serve(
    config: PipelineConfig,
    encoder: Encoder | Sequence[Encoder] | None = None,
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Args:
        config: of the classifier and of the server.
        encoder: encoders that are loaded already; by default the configured ones are loaded.
        on_start: called with the URL of the server when its port is open; images are classified soon after.

    Raises:
        ConfigError: the address cannot be used, other machines reach it and there is no token, or there is no encoder.
        LmmClassifierError: the index or the encoder cannot be opened.
    """
    server, listening = open_server(config, encoder)
    try:
        if on_start is not None:
            server.on_start = partial(on_start, url_of(listening))
        asyncio.run(server.serve([listening]))
    finally:
        listening.close()
    if server.state.failure is not None:
        raise server.state.failure


def open_server(
    config: PipelineConfig, encoder: Encoder | Sequence[Encoder] | None = None
) -> tuple[GracefulServer, socket.socket]:
    """Return a server that does not answer yet, and the socket at which it will; `serve` tells the rest."""
    servers = list[GracefulServer]()

    def stop() -> None:
        servers[0].should_exit = True

    if encoder is None and any(section.backend == "vectors" for section in config.encoders):
        raise ConfigError("The server classifies images, but encoder.backend is vectors: there is no encoder for them.")
    settings = config.server
    app, state = create_app(config, encoder, on_failure=stop)
    listening = _listening(settings.host, settings.port)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    options = uvicorn.Config(
        app,
        http=DeadlineProtocol.within(settings, lambda why: state.metrics.refused.labels(why).inc()),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type] # fractions of a second are fine
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds + _SPARE),
    )
    servers.append(GracefulServer(options, state))
    return servers[0], listening


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"The server cannot listen at {host}, port {port}: {error.strerror or error}. Set another server.host or "
            "server.port."
        ) from error


def url_of(listening: socket.socket) -> str:
    """Return the URL of the server that listens at a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
