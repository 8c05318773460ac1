"""Sets up logging for the whole program in one place; importing the package configures nothing."""

from __future__ import annotations

import json
import logging
import math
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOGGER_NAME = "lmm_classifier"
_RESERVED = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """Writes one valid JSON object a line: time (UTC), level, logger, message, `extra` fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII JSON; values that JSON does not know become text."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update({key: value for key, value in vars(record).items() if key not in _RESERVED and key not in entry})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        return json.dumps(_finite(entry), default=str)


def _finite(value: object) -> object:
    """Replace what JSON has no word for (NaN, infinities, keys that are not text)."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (not math.isfinite(value)):
        return str(value)
    return value


class _OneLineFormatter(logging.Formatter):
    """Plain text; file names cannot break a line or the terminal's encoding."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).encode("utf-8", "backslashreplace").decode("utf-8")


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to the standard error of the moment, which tests and terminals may replace."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> object:
        return sys.stderr


def configure_logging(level: str = "INFO", json_lines: bool = False, file: Path | None = None) -> None:
    """Send the package's log records to standard error, or append them to `file`.

    Calling again replaces the former set-up. Python warnings (such as Pillow's remarks on odd
    metadata) are logged too, at WARNING. Raises ValueError on an unknown level.
    """
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(level)
    handler: logging.Handler = logging.FileHandler(file, encoding="utf-8") if file else _StderrHandler()
    if json_lines:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(_OneLineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    for target in (logger, logging.getLogger("py.warnings")):
        for old in list(target.handlers):
            target.removeHandler(old)
            old.close()
        target.addHandler(handler)
        target.propagate = False
    logging.captureWarnings(True)
