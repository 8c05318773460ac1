"""The configuration that the command line was given, so that printed commands can be run as they are.

The library names a command, such as `lmm-classifier calibrate`. With another configuration this command would do
something else, so the command line adds the options that were given.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from lmm_classifier.core.text import quote_for_shell

_options = ContextVar("_options", default="")
_COMMAND = re.compile(r"`lmm-classifier (?:build|sync|calibrate)(?= |`)[^`]*")


@contextmanager
def given_configuration(config: str | None, settings: Sequence[str] | None) -> Iterator[None]:
    """Remember `--config` and `--set` for the messages of this block; settings that hold secrets are left out."""
    from lmm_classifier.core.redaction import redact
    from lmm_classifier.core.settings import holds_secrets

    shown = [text for text in settings or () if not (holds_secrets(text) or text.strip().startswith("logging."))]
    options = [] if config is None else [("--config", config)]
    options += [("--set", text) for text in shown if redact(text) == text]
    token = _options.set(" ".join(f"{option} {quote_for_shell(value)}" for option, value in options))
    try:
        yield
    finally:
        _options.reset(token)


def given_options() -> str:
    """Return the options that give the same configuration, as they are typed; empty for the default one."""
    return _options.get()


def complete_commands(text: str) -> str:
    """Return text in which each command that depends on the configuration has the options that were given."""
    options = given_options()
    return _COMMAND.sub(lambda found: f"{found[0]} {options}", text) if options else text


def complete_logged_commands() -> None:
    """Let the log of the package show commands with the options that were given."""
    for handler in logging.getLogger("lmm_classifier").handlers:
        handler.addFilter(_complete)


def _complete(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    if (completed := complete_commands(text)) != text:
        record.msg, record.args = completed, ()
    return True
