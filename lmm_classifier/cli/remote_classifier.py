"""Classifies files by a server of this program, with the results of a classifier on its index."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
from collections.abc import Generator, Iterable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from threading import Event
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlsplit

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.concurrency import threaded_map
from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor
from lmm_classifier.core.errors import ImageError, ServerError, UnreadableImageError
from lmm_classifier.core.redaction import quote_foreign
from lmm_classifier.data.file_content import read_bytes
from lmm_classifier.data.places import Place
from lmm_classifier.data.readers.crops import Crop
from lmm_classifier.pipeline.stages.unreadable import unreadable

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T", str, int)
_AT_ONCE = 8  # images under way
_DEADLINE = 60_000  # milliseconds that the server may take for an image
_TIMEOUT = 90.0  # seconds without a byte of an answer
_PATIENCE = 600.0  # seconds in which an image is sent again where the server asks for it
_LONGEST_WAIT = 60.0  # seconds before an image is sent again
_LOST = 4  # times that a connection may be lost
_ABOUT_THE_IMAGE = {413, 422}


class RemoteClassifier:
    """A server that classifies; it is asked for several images at a time.

    An image is sent again after the time that the server asks for, or where a connection is lost.

    Args:
        url: of the server, such as `http://127.0.0.1:8321`.
        config: names the environment variables with a token, and the limits for files.

    Raises:
        ServerError: the server cannot be reached, or refuses.
    """

    def __init__(self, url: str, config: PipelineConfig) -> None:
        parts = _parts(url)
        self._url, self._host, self._port, self._prefix = url, parts.hostname or "", parts.port, parts.path.rstrip("/")
        secure = http.client.HTTPSConnection
        self._kind: type[http.client.HTTPConnection] = secure if parts.scheme == "https" else http.client.HTTPConnection
        names = config.server.read_token_env, config.server.token_env
        self._token = next((os.environ[name] for name in names if os.environ.get(name)), "")
        self._token_env, self._limits = config.server.token_env, config.images.limits
        self._idle, self._used = list[http.client.HTTPConnection](), set[http.client.HTTPConnection]()
        try:
            self._unknown_label = self._member(self._get("/v1/config"), "unknown_label", str)
            index = self._get("/v1/index")
            self.run_identity: str = self._member(index, "run", str)
            self.has_levels: bool = self._member({"levels": 0, **index}, "levels", int) > 0
        except ServerError:
            self.close()
            raise

    def classify_paths(self, paths: Iterable[Place]) -> Generator[Classification, None, None]:
        """Classify files and yield one result per path, in order; then close all connections."""
        ended = Event()

        def end() -> None:
            """Let no thread wait for the server any longer."""
            ended.set()
            for connection in list(self._used):
                if connection.sock is not None:
                    with suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)

        try:
            yield from threaded_map(partial(self._classify, ended=ended), paths, _AT_ONCE, on_end=end)
        finally:
            self.close()

    def close(self) -> None:
        """Close the connections that are open; a later request opens others."""
        while self._idle:
            self._idle.pop().close()

    def _classify(self, path: Place, ended: Event) -> Classification:
        content_hash = None
        try:
            data = read_bytes(path, self._limits)
            if isinstance(path, Crop):
                raise UnreadableImageError("a part of an image cannot be sent to a server")
        except ImageError as error:
            return unreadable(self._unknown_label, str(path), f"{path}: {error}", None)
        content_hash = sha256(data).hexdigest()
        status, values = self._ask("POST", "/v1/classify?rounded=false", data, ended)
        if status in _ABOUT_THE_IMAGE:
            reason = f"{path}: {quote_foreign(str(values.get('detail')), limit=1000)}"
            return unreadable(self._unknown_label, str(path), reason, content_hash)
        try:
            return _result(values, str(path))
        except (KeyError, TypeError, ValueError):
            raise self._foreign() from None

    def _get(self, path: str) -> dict[str, Any]:
        return self._ask("GET", path, None, Event())[1]

    def _member(self, values: dict[str, Any], name: str, kind: type[T]) -> T:
        value = values.get(name)
        if not isinstance(value, kind):
            raise self._foreign()
        return value

    def _foreign(self) -> ServerError:
        return ServerError(f"{self._url} gave something else than was asked for. Is it a server of this program?")

    def _ask(self, method: str, path: str, body: bytes | None, ended: Event) -> tuple[int, dict[str, Any]]:
        """Return the status and the members of an answer; wait and ask again where the server says so."""
        end, lost = monotonic() + _PATIENCE, 0
        while True:
            try:
                status, headers, values = self._exchange(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                lost += 1
                if ended.is_set() or lost >= _LOST or isinstance(error, ConnectionRefusedError):
                    raise ServerError(f"{self._url} cannot be reached: {error or type(error).__name__}.") from error
                _pause(ended, 0.1 * 2**lost)
                continue
            if status == 200 or status in _ABOUT_THE_IMAGE:
                return status, values
            wait = _wait(headers.get("Retry-After"))
            if status not in (429, 503, 504) or monotonic() + wait > end or ended.is_set():
                raise self._refusal(status, values)
            logger.debug("%s asks to wait %g seconds (%d).", self._url, wait, status)
            _pause(ended, wait)

    def _taken(self) -> http.client.HTTPConnection | None:
        """Return a connection that no thread uses, None where there is none."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _exchange(
        self, method: str, path: str, body: bytes | None
    ) -> tuple[int, http.client.HTTPMessage, dict[str, Any]]:
        connection = self._taken() or self._kind(self._host, self._port, timeout=_TIMEOUT)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers |= {"Content-Type": "application/octet-stream", "X-Deadline-Ms": str(_DEADLINE)}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        self._used.add(connection)
        try:
            connection.request(method, self._prefix + path, body, headers)
            response = connection.getresponse()
            data = response.read()
        except BaseException:
            connection.close()
            raise
        finally:
            self._used.discard(connection)
        self._idle.append(connection)
        try:
            values = json.loads(data)
        except ValueError:
            values = {}
        return response.status, response.headers, values if isinstance(values, dict) else {}

    def _refusal(self, status: int, values: dict[str, Any]) -> ServerError:
        said = quote_foreign(str(values.get("detail") or http.client.responses.get(status, "")), [self._token])
        if status in (401, 403):
            said += f" Put the token of the server into the environment variable {self._token_env}."
        return ServerError(f"{self._url} answered with status {status}: {said}")


def _parts(url: str) -> Any:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not parts.username
    except ValueError:
        is_usable = False
    if not is_usable or parts.query or parts.fragment:
        raise ServerError(f"Expected the URL of a server, such as http://127.0.0.1:8321, got {quote_foreign(url)!r}.")
    return parts


def _pause(ended: Event, seconds: float) -> bool:
    """Wait; return whether no answer is wanted any more, which ends the waiting."""
    return ended.wait(seconds)


def _wait(given: str | None) -> float:
    return min(float(given), _LONGEST_WAIT) if given and given.isascii() and given.isdecimal() else 1.0


def _result(values: dict[str, Any], path: str) -> Classification:
    """Return the result that a server gave for a file."""
    candidates = tuple(_candidate(candidate) for candidate in values["candidates"])
    return Classification(
        values["label"],
        values["score"],
        values["used_reranker"],
        Decision(values["action"], values["reason"]),
        candidates,
        values["similarity"],
        values["familiarity"],
        path,
        values["content_hash"],
        values["error"],
        None if values["prediction_set"] is None else tuple(values["prediction_set"]),
        tuple(values.get("encoders", ())),
        values["disagreement"],
        label_path=tuple(values["label_path"]) if "label_path" in values else None,
        level=values.get("level"),
    )


def _candidate(values: dict[str, Any]) -> Candidate:
    neighbors = tuple(
        Neighbor(Example(neighbor["path"], neighbor["label"]), neighbor["similarity"])
        for neighbor in values["neighbors"]
    )
    return Candidate(values["label"], values["score"], neighbors, values["rerank_score"], values.get("encoder"))
