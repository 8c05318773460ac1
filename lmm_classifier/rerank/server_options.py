"""Where and how a server is asked, and the headers and secrets that a request needs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pydantic import SecretStr

from lmm_classifier.core.errors import RerankerError
from lmm_classifier.core.redaction import quote_foreign

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_LENGTH = 6  # a shorter value of a header, such as "1", would also hide what is no secret
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where and how to ask; the fields mean the same as in the `rerank` section of the configuration."""

    base_url: str | list[str]
    model_name: str
    api_key_env: str = "OPENAI_API_KEY"
    deadline: float = 30.0
    concurrency: int = 8
    retries: int = 2
    circuit_breaker_failures: int = 5
    circuit_breaker_seconds: float = 30.0
    thinking: Literal["auto", "on", "off"] = "auto"
    token_budget: int = 2048
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    extra_headers: Mapping[str, SecretStr] = field(default_factory=dict)
    proxy: str = "auto"
    patient: bool = False
    """Wait for a server that asks to slow down as long as it takes; `deadline` then limits each request alone."""

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The URLs of the servers, each once."""
        urls = [self.base_url] if isinstance(self.base_url, str) else self.base_url
        return tuple(dict.fromkeys(urls))

    @property
    def request_settings(self) -> str:
        """Names what changes the answer to a request, apart from model and prompt; empty for the defaults."""
        changed: dict[str, Any] = {}
        if self.extra_body:
            changed["extra_body"] = dict(self.extra_body)
        if self.thinking != "auto":
            changed["thinking"] = self.thinking
        return json.dumps(changed, sort_keys=True) if changed else ""

    def headers(self) -> dict[str, str]:
        """Return the headers of a request, with keys from the environment.

        Raises:
            RerankerError: if a variable is missing, or its value cannot be sent.
        """
        headers = {}
        if key := os.environ.get(self.api_key_env, ""):
            headers["Authorization"] = f"Bearer {_sendable(key, self.api_key_env)}"
        for name, value in self.extra_headers.items():
            for former in [known for known in headers if known.lower() == name.lower()]:
                del headers[former]
            headers[name] = _VARIABLE.sub(_from_environment, value.get_secret_value())
        return headers

    def secrets(self) -> list[str]:
        """Return every text that no message may contain: the key, and the values of the extra headers."""
        return [secret for secret in self._secrets() if secret]

    def quote(self, text: str, limit: int = 200) -> str:
        """Return foreign text for a message: without secrets, on one line, then cut."""
        return quote_foreign(text, self.secrets(), limit)

    def _secrets(self) -> Iterator[str]:
        yield os.environ.get(self.api_key_env, "")
        for header in self.extra_headers.values():
            value = header.get_secret_value()
            yield from (os.environ.get(name, "") for name in _VARIABLE.findall(value))
            filled = _VARIABLE.sub(lambda match: os.environ.get(match.group(1), ""), value)
            yield from (part for part in {filled, *filled.split()} if len(part) >= _SECRET_LENGTH)


def _from_environment(match: re.Match[str]) -> str:
    name = match.group(1)
    if name not in os.environ:
        raise RerankerError(
            f"rerank.server.extra_headers needs the environment variable {name}, which is not set. Set it."
        )
    return _sendable(os.environ[name], name)


def _sendable(value: str, variable: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise RerankerError(
            f"The environment variable {variable} contains characters that a header cannot have. "
            "Set it to the key of the server."
        )
    return value
