"""Loads libraries and rooms when they are needed, and says what to install when one is missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from lmm_classifier.errors import MissingExtraError


def load_module(module: str, extra: str) -> ModuleType:
    """Import `module`; raises MissingExtraError with the exact pip command for `extra`."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "lmm_classifier":
            raise  # our own mistake: let it be seen
        raise MissingExtraError(
            f"{module} needs {missing!r}, which is not installed: pip install 'lmm-classifier[{extra}]'"
        ) from error


def load(module: str, name: str, extra: str) -> Any:
    """Return `name` from `module`; raises MissingExtraError with the exact pip command for `extra`."""
    return getattr(load_module(module, extra), name)
