"""What a damaged SQLite file raises."""

from __future__ import annotations

import sqlite3

# SQLite's message may quote damaged bytes of the file, and then Python fails to decode the message
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)


def reason_of(error: Exception) -> str:
    r"""Return SQLite's message; damaged bytes in it are shown as `\x81`."""
    return error.object.decode("utf-8", "backslashreplace") if isinstance(error, UnicodeDecodeError) else str(error)
