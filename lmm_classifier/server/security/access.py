"""Who may ask: the name of the server, the origin of a page, a token, and what the token allows."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.server.config import ServerConfig
from lmm_classifier.server.problems import ProblemError, instance_of, problem_response

Permission = Literal["read", "teach"]

COOKIE = "lmm_session"
_HERE = {"localhost", "127.0.0.1", "::1"}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_READING = {"/v1/classify", "/v1/embed", "/"}  # addresses that take a body and change nothing
_PROBES = {
    "/healthz",
    "/readyz",
    "/v2/health/live",
    "/v2/health/ready",
}  # answered to everybody: they tell nothing but whether the server works
_PUBLIC = ("/problems/", "/v1/session", "/static/", "/login")  # answered without a token
_LEAST = 16  # characters of a token


@dataclass(frozen=True)
class Access:
    """The rules of one server.

    Args:
        tokens: what each token allows; empty where no token is needed.
        hosts: names of the server, in lower case and without port; None accepts every name.
    """

    tokens: Mapping[str, Permission]
    hosts: frozenset[str] | None

    @classmethod
    def of(cls, config: ServerConfig, environment: Mapping[str, str] = os.environ) -> Access:
        """Read the tokens from the environment.

        Raises:
            ConfigError: other machines can reach the server and there is no token, or a token is short or no text of
                visible ASCII characters.
        """
        tokens: dict[str, Permission] = {}
        for name, permission in ((config.read_token_env, "read"), (config.token_env, "teach")):
            if token := environment.get(name, ""):
                _check_token(token, name)
                if token in tokens:
                    raise ConfigError(
                        f"{config.read_token_env} and {config.token_env} hold the same token, so readers could change "
                        "the index. Make another one with `openssl rand -hex 32`."
                    )
                tokens[token] = permission  # type: ignore[assignment]
        named = frozenset(_host_of(host) or host.lower() for host in config.allowed_hosts)
        if is_loopback(config.host):
            return cls(tokens, named | _HERE | {config.host.strip("[]").lower()})
        if not tokens:
            raise ConfigError(
                f"The server would listen at {config.host}, where other machines reach it, and everybody could change "
                f"the index. Put a token of at least {_LEAST} characters into the environment variable "
                f"{config.token_env}, or let server.host be 127.0.0.1."
            )
        return cls(tokens, named or None)

    def check_host(self, headers: Headers) -> None:
        """Raise ProblemError unless the request names this server: a page may have rebound its own name."""
        names = headers.getlist("host")
        host = _host_of(names[0]) if len(names) == 1 else None
        if host is None:
            raise ProblemError("malformed-request", "Expected one header Host with the name of the server.")
        if self.hosts is not None and host not in self.hosts:
            raise ProblemError("forbidden-host", f"The server is not known as {host!r}.")

    def check_origin(self, method: str, headers: Headers) -> None:
        """Raise ProblemError where a browser says that a page of another site asks."""
        site, origins = headers.get("sec-fetch-site"), headers.getlist("origin")
        is_visit = method in _SAFE and headers.get("sec-fetch-mode") == "navigate"
        if site not in (None, "same-origin", "none") and not is_visit:
            raise ProblemError("forbidden-origin", "A page of another site must not ask this server.")
        if origins and method not in _SAFE and not all(_is_same(origin, headers.get("host", "")) for origin in origins):
            raise ProblemError("forbidden-origin", "The page that asks is not from this server.")

    def check_token(self, method: str, path: str, headers: Headers) -> None:
        """Raise ProblemError where a token is missing or wrong, or does not allow what is asked."""
        if not self.tokens or path.startswith(_PUBLIC):
            return
        permission = self.permission(headers)
        if permission is None:
            raise ProblemError(
                "unauthorized", "A token is needed, and none or a wrong one was sent.", {"WWW-Authenticate": "Bearer"}
            )
        if permission != "teach" and method not in _SAFE and not _only_reads(path):
            raise ProblemError("forbidden-scope", "The token allows to classify and read, not to change the index.")

    def permission(self, headers: Headers) -> Permission | None:
        """Return what the token or the cookie of a request allows, None where it has no valid one."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.permission_of(given.strip())
        cookie = _cookie(headers)
        allowed: Permission | None = None
        for token, permission in self.tokens.items():  # all of them, so that the time tells nothing
            if secrets.compare_digest(session_of(token), cookie):
                allowed = permission
        return allowed

    def permission_of(self, given: str) -> Permission | None:
        """Return what a token allows, None where it is not valid."""
        allowed: Permission | None = None
        for token, permission in self.tokens.items():
            if secrets.compare_digest(token.encode(), given.encode("utf-8", "replace")):
                allowed = permission
        return allowed


def _only_reads(path: str) -> bool:
    return path in _READING or (path.startswith("/v2/models/") and path.endswith("/infer"))


def session_of(token: str) -> bytes:
    """Return the value of the cookie for a token: it proves the token and does not contain it."""
    return hmac.digest(token.encode(), b"lmm-classifier session", hashlib.sha256).hex().encode()


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine reach an address."""
    name = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class AccessControl:
    """Lets requests pass that `Access` allows; the others get their problem before anything of a body is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "http" and scope["path"] not in _PROBES:
            try:
                self._check(scope)
            except ProblemError as problem:
                await self._refusal(problem, scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, problem: ProblemError, scope: Scope) -> Response:
        """Return the problem; a browser that visits a page without a token is led to the page that asks for it."""
        headers = Headers(raw=scope["headers"])
        is_visit = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if problem.slug == "unauthorized" and is_visit and not scope["path"].startswith(("/v1/", "/v2/")):
            return RedirectResponse(f"/login?then={quote(instance_of(scope), safe='')}", 303)
        return problem_response(problem, instance_of(scope))

    def _check(self, scope: Mapping[str, Any]) -> None:
        headers, method, path = Headers(raw=scope["headers"]), scope["method"], scope["path"]
        self._access.check_host(headers)
        self._access.check_origin(method, headers)
        self._access.check_token(method, path, headers)


def _check_token(token: str, name: str) -> None:
    if len(token) < _LEAST or not all("!" <= character <= "~" for character in token):
        raise ConfigError(
            f"The token in {name} must be at least {_LEAST} visible ASCII characters without spaces. "
            "`openssl rand -hex 32` makes one."
        )


def _host_of(text: str) -> str | None:
    """Return the host of `host:port`, in lower case and without brackets; None where it is none."""
    try:
        parts = urlsplit(f"//{text}")
        parts.port  # noqa: B018 - raises ValueError where it is no number
    except ValueError:
        return None
    is_plain = parts.netloc == text and "@" not in text
    return parts.hostname.rstrip(".") or None if is_plain and parts.hostname else None


def _is_same(origin: str, host: str) -> bool:
    """Return whether the origin of a page is the server that `Host` names; a proxy may have ended TLS in between."""
    try:
        parts = urlsplit(origin)
        default = {"http": 80, "https": 443}.get(parts.scheme)
        asked = urlsplit(f"//{host}")
        return default is not None and (parts.hostname, parts.port or default) == (
            asked.hostname,
            asked.port or default,
        )
    except ValueError:
        return False


def _cookie(headers: Headers) -> bytes:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return b""
    return morsel.value.encode("utf-8", "replace") if morsel else b""
