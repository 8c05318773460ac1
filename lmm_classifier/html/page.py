"""Render a page: one self-contained HTML file of figures, charts, tables and images, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmm_classifier.core.files import atomic_write
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.text import escape_unprintable
from lmm_classifier.html.cards import Card, GroupCard
from lmm_classifier.html.charts import Chart
from lmm_classifier.html.confusion_matrix import ConfusionMatrix
from lmm_classifier.html.filters import Filter
from lmm_classifier.html.tables import Table
from lmm_classifier.html.thumbnails import Thumbnails

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = "lmm_classifier.html"
MAX_CARDS = 60  # per section of a page that shows a selection


@dataclass(frozen=True, slots=True)
class Folded:
    """A part of a section that is closed until it is opened."""

    summary: str
    cards: Sequence[Card] = ()
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page, with a heading and a link at the top."""

    anchor: str
    heading: str
    count: int | None = None  # of all items; None where they are not counted
    charts: Sequence[Chart] = ()
    matrix: ConfusionMatrix | None = None
    table: Table | None = None
    filters: Sequence[Filter] = ()  # of the cards, also of those in folded parts
    cards: Sequence[Card] = ()
    groups: Sequence[GroupCard] = ()
    folded: Sequence[Folded] = ()

    @property
    def not_shown(self) -> int:
        """Return how many items have no card; folded parts show all."""
        shown = len(self.cards) + len(self.groups)
        return 0 if self.folded else self.count - shown if self.count and shown else 0


def write_page(
    path: Path | str,
    template: str,
    title: str,
    figures: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    thumbnails: Thumbnails | None = None,
    **legend: Any,
) -> None:
    """Write a page to `path`, whole or not at all.

    Args:
        path: the HTML file.
        template: file in `templates` that extends `base.html` with a legend.
        title: heading of the page.
        figures: names and values at the top.
        sections: the parts of the page, in order.
        thumbnails: images of the neighbors that the cards show.
        legend: values that the legend of the template needs.
    """
    content = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            figures=figures,
            sections=sections,
            thumbnails=thumbnails.urls() if thumbnails else [],
            **legend,
        )
    )
    with atomic_write(expand_home(path)) as temporary:
        temporary.write_text(content, encoding="utf-8")


@cache
def _environment() -> Environment:
    """Return the jinja2 environment: every value is escaped, and a missing one is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = files(_PACKAGE).joinpath("style.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)  # a file of this package, so that it needs no escaping
    return environment


def _finalize(value: object) -> object:
    """Escape characters that UTF-8 or a reader does not take; jinja2 then escapes markup.

    The output of a macro is markup already, and its values went through here.
    """
    return value if hasattr(value, "__html__") else escape_unprintable(str(value))
