"""Bodies of requests, bounded while they arrive: the bytes of an image, and the parts of a form."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from lmm_classifier.core.errors import QueueFullError
from lmm_classifier.server.problems import ProblemError

_CLOSE = {"Connection": "close"}
_DRAINED = 256_000  # bytes of a refused body that are read, so that its client sees the answer
IMAGE = "image"  # name of the parts that are images
_FIELD = 8192  # bytes of a part without an image


class HeldBytes:
    """The bytes of all bodies that were received and are not in the queue yet."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count: int = 0

    def add(self, size: int, own: int = 0) -> None:
        """Count bytes of a body of which `own` bytes count already; raise QueueFullError where all are too many.

        One body is let in alone, whatever its size.
        """
        if self.count > own and self.count + size > self.limit:
            raise QueueFullError(f"The requests under way hold {self.limit:,} bytes, which is the limit.", why="bodies")
        self.count += size

    def remove(self, size: int) -> None:
        """Forget bytes."""
        self.count -= size


class Upload:
    """The body of one request. Its bytes count in `held` until they are taken.

    Args:
        request: whose body was not read.
        held: counts the bytes of all requests.
        limit: bytes of this body.
    """

    def __init__(self, request: Request, held: HeldBytes, limit: int) -> None:
        self._request, self._held, self._limit = request, held, limit
        self._own = 0  # bytes that count in `held` for this request

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Upload]:
        """Let the bytes of the body count until the end of the block; refuse a body that says it is too large."""
        try:
            declared = self._request.headers.get("content-length", "")
            if declared.isdecimal() and int(declared) > self._limit:
                raise self._too_large()
            yield self
        finally:
            self._held.remove(self._own)
            self._own = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces as they arrive."""
        size = 0
        async for chunk in self._request.stream():
            size += len(chunk)
            if size > self._limit:
                raise self._too_large()
            self.holds(len(chunk))
            yield chunk

    async def whole(self) -> bytes:
        """Return the body."""
        return b"".join([chunk async for chunk in self.chunks()])

    def holds(self, size: int) -> None:
        """Let so many bytes more count; raise QueueFullError where all bodies hold too many."""
        self._held.add(size, self._own)
        self._own += size

    def taken(self, size: int) -> None:
        """Forget bytes that are somewhere else now."""
        size = min(size, self._own)
        self._held.remove(size)
        self._own -= size

    def _too_large(self) -> ProblemError:
        return ProblemError("body-too-large", f"The body has more than {self._limit:,} bytes.", _CLOSE)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a form."""

    name: str
    data: bytes
    is_file: bool
    filename: str = ""


def known_part(part: Part, names: Sequence[str]) -> Part:
    """Return a part with one of these names; raise ProblemError for another one, which would be ignored."""
    if part.name not in names:
        expected = ", ".join(names)
        raise ProblemError(
            "malformed-request", f"The form has a part {part.name[:40]!r}. Those that exist: {expected}.", _CLOSE
        )
    return part


class FormParts:
    """The parts of a form, each as soon as it is complete.

    Args:
        upload: the body.
        boundary: separates the parts.
        max_part: bytes of one part.
        max_parts: how many parts there may be.
    """

    def __init__(self, upload: Upload, boundary: bytes, max_part: int, max_parts: int) -> None:
        self._upload, self._max_part, self._max_parts = upload, max_part, max_parts
        self._ready: deque[Part] = deque()
        self._data, self._field, self._value = bytearray(), bytearray(), bytearray()
        self._name, self._is_file, self._count, self._has_ended = "", False, 0, False
        self._filename = ""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_to_field,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise ProblemError("malformed-request", f"The form cannot be read: {error}.", _CLOSE) from None

    async def __aiter__(self) -> AsyncIterator[Part]:
        async for chunk in self._upload.chunks():
            if chunk:
                self._parse(chunk)
            while self._ready:
                yield self._ready.popleft()
        if not self._has_ended:
            raise ProblemError("malformed-request", "The form ends before its last boundary.")

    def _parse(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise ProblemError("malformed-request", f"The form cannot be read: {error}.", _CLOSE) from None

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._max_parts:
            raise ProblemError("body-too-large", f"The form has more than {self._max_parts} parts.", _CLOSE)
        self._name, self._filename, self._is_file = "", "", False
        self._data = bytearray()

    def _add_to_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if bytes(self._field).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self._filename = options.get(b"filename", b"").decode("utf-8", "replace")
            self._is_file = b"filename" in options or self._name == IMAGE
        self._field, self._value = bytearray(), bytearray()

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        limit = self._max_part if self._is_file else min(self._max_part, _FIELD)
        if len(self._data) > limit:
            raise ProblemError("body-too-large", f"A part has more than {limit:,} bytes.", _CLOSE)

    def _end_part(self) -> None:
        self._ready.append(Part(self._name, bytes(self._data), self._is_file, self._filename))
        self._data = bytearray()

    def _end(self) -> None:
        self._has_ended = True


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a form, None where the body is no form."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    if not options.get(b"boundary"):
        raise ProblemError("malformed-request", "The content type of the form names no boundary.", _CLOSE)
    return options[b"boundary"]


def closing(request: Request) -> dict[str, str]:
    """Return the headers of an answer before the body was read: a small one is passed over, a large one not."""
    declared = request.headers.get("content-length", "")
    return {} if declared.isdecimal() and int(declared) <= _DRAINED else dict(_CLOSE)
