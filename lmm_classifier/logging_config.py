"""Logging of the whole program, configured in one place; importing the package configures nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOGGER_NAME = "lmm_classifier"
_RESERVED = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object per line: time (UTC), level, logger, message, `extra` fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of ASCII JSON; values that JSON cannot hold become text."""
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
    """Replace values that JSON cannot hold: NaN, infinities, keys that are not text."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (not math.isfinite(value)):
        return str(value)
    return value


class _OneLineFormatter(logging.Formatter):
    """Formats a record as plain text; no file name can break a line, the encoding or the state of the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        text = super().formatMessage(record)
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).encode("utf-8", "backslashreplace").decode("utf-8")


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to the current standard error, which tests and terminals may replace."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> object:
        return sys.stderr


def _expanded(file: Path) -> str:
    return os.path.expanduser(file)  # noqa: PTH111 - Path.expanduser raises where the home is unknown


def configure_logging(level: str = "INFO", json_lines: bool = False, file: Path | None = None) -> None:
    """Send the package's log records to standard error or to a file. A second call replaces the first set-up.

    Python warnings, such as Pillow's about odd metadata, are logged too, at level WARNING.

    Args:
        level: least level of the records, such as "INFO".
        json_lines: write one JSON object per line instead of plain text.
        file: append to this file instead of standard error.

    Raises:
        ValueError: there is no such level.

    Example:
        >>> import logging, tempfile
        >>> from pathlib import Path
        >>> from lmm_classifier import configure_logging
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "run.log"
        ...     configure_logging("INFO", file=file)
        ...     logging.getLogger("lmm_classifier").info("index opened")
        ...     configure_logging()  # closes the file and uses standard error again
        ...     print(file.read_text().partition(" ")[2].strip())
        INFO lmm_classifier: index opened
    """
    logger = logging.getLogger(LOGGER_NAME)
    logger.setLevel(level)
    handler: logging.Handler = logging.FileHandler(_expanded(file), encoding="utf-8") if file else _StderrHandler()
    if json_lines:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(_OneLineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    for target in (logger, logging.getLogger("py.warnings")):
        for former in list(target.handlers):
            target.removeHandler(former)
            former.close()
        target.addHandler(handler)
        target.propagate = False
    logging.captureWarnings(True)
