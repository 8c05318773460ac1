"""The templates, in an environment where every value is escaped."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from lmm_classifier.core.text import escape_unprintable

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = "lmm_classifier.html"


@cache
def environment() -> Environment:
    """Return the jinja2 environment: every value is escaped, and a missing one is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name, file in (("style", "style.css"), ("notebook_style", "notebook.css")):
        style = files(_PACKAGE).joinpath(file).read_text(encoding="utf-8")
        made.globals[name] = Markup(style)  # a file of this package, so that it needs no escaping
    return made


def _finalize(value: object) -> object:
    """Escape characters that UTF-8 or a reader does not take; jinja2 then escapes markup.

    The output of a macro is markup already, and its values went through here.
    """
    return value if hasattr(value, "__html__") else escape_unprintable(str(value))
