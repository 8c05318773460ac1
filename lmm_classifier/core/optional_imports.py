"""Loads libraries and rooms when they are needed, and says what to install when one is missing."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from lmm_classifier.core.errors import MissingExtraError


def load_module(module: str, extra: str) -> ModuleType:
    """Import `module`; raises MissingExtraError with the exact pip command for `extra`."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "lmm_classifier":
            raise  # our own mistake: let it be seen
        what = f"{missing!r}" if missing == module else f"{module} needs {missing!r}, which"
        raise MissingExtraError(f"{what} is not installed: pip install 'lmm-classifier[{extra}]'") from error


def require(module: str, extra: str) -> None:
    """Raise MissingExtraError as `load_module` does where `module` is not installed; it is not imported yet."""
    try:
        there = find_spec(module) is not None
    except ValueError:  # it is in sys.modules without a specification of where it is from
        there = sys.modules.get(module) is not None
    if not there:
        load_module(module, extra)


def load(module: str, name: str, extra: str) -> Any:
    """Return `name` from `module`; raises MissingExtraError with the exact pip command for `extra`."""
    return getattr(load_module(module, extra), name)
