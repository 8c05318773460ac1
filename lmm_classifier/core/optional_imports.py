"""Import libraries and rooms when they are needed, and say what to install when one is missing."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from lmm_classifier.core.errors import MissingExtraError


def import_optional(module: str, extra: str) -> ModuleType:
    """Import and return `module`; raises MissingExtraError with the exact pip command for `extra`."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "lmm_classifier":
            raise  # a mistake of this package must not look like a missing extra
        subject = f"{missing!r}" if missing == module else f"{module} needs {missing!r}, which"
        first = (
            "pip install torch && " if missing == "torch" else ""
        )  # first and alone, or pip may choose a large build
        raise MissingExtraError(f"{subject} is not installed: {first}pip install 'lmm-classifier[{extra}]'") from error


def require_optional(module: str, extra: str) -> None:
    """Raise MissingExtraError, as `import_optional` does, where `module` is not installed; do not import it."""
    if not is_installed(module):
        import_optional(module, extra)


def is_installed(module: str) -> bool:
    """Return whether `module` can be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except ValueError:  # the module is in sys.modules and does not say where it comes from
        return sys.modules.get(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


def import_attribute(module: str, name: str, extra: str) -> Any:
    """Import `module` and return its attribute `name`; raises MissingExtraError as `import_optional` does."""
    return getattr(import_optional(module, extra), name)
