"""Headers that every answer has: a strict content security policy, and nothing that a cache may keep by mistake."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with none, browsers name no origin with forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), microphone=(), payment=()",
}
_DEFAULT_CACHING = "no-store"


class SecurityHeaders:
    """Adds `HEADERS` and the version of the index to every answer, and `Cache-Control: no-store` by default."""

    def __init__(self, app: ASGIApp, index_version: Callable[[], int | None]) -> None:
        self._app, self._index_version = app, index_version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", _DEFAULT_CACHING)
                if (version := self._index_version()) is not None:
                    headers["x-index-version"] = str(version)
            await send(message)

        await self._app(scope, receive, send_with_headers)
