"""What a source says of one example."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import DatasetError

_MOST = 1 << 30  # bytes of a JSON file


@dataclass(frozen=True, slots=True)
class GivenLabel:
    """What a source says of one example, in its order; a person may have given it several times."""

    where: str
    """Where it is in the source, such as `task 17`."""
    example: str | None = None
    """Id of the example; None where only its file is known."""
    file: str | None = None
    """Path or URL of the image."""
    label: str | None = None
    """The label; None where there is none, for the reason in `problem`."""
    problem: str = ""
    """Why there is no label."""
    exported_label: str | None = None
    """Label that the example had when it was exported; None where that is not known."""


def read_json(file: Path) -> Any:
    """Return what a JSON file holds; raise DatasetError where it cannot be read."""
    try:
        if file.stat().st_size > _MOST:
            raise DatasetError(f"{file} has more than {_MOST:,} bytes. Export the labels in several parts.")
        return json.loads(file.read_bytes())
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file} is not JSON ({str(error)[:80]}).") from None


def text_or_none(value: object) -> str | None:
    """Return a text that is not empty; None for anything else."""
    return value if isinstance(value, str) and value else None
