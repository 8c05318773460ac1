"""A page for people: one self-contained HTML file of figures, charts and pictures, plain and printable."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from PIL import ImageOps
from PIL.Image import Image

from lmm_classifier.core.errors import ImageError
from lmm_classifier.core.files import replacing_file
from lmm_classifier.data.images import read_picture

_SIDE = 128  # pixels of a picture's longer side
_NEIGHBOR_SIDE = 64  # pixels of a neighbour's square
_QUALITY = 72  # JPEG; a page of 300 cards stays under 6 MB


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: `body` is HTML, `count` what there is of it, where it can be counted."""

    anchor: str
    heading: str
    body: str
    count: int | None = None


def write_page(
    path: Path,
    title: str,
    figures: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    legend: str,
    thumbnails: Thumbnails,
) -> None:
    """Write the page to `path`, whole or not at all; `legend` is HTML."""
    shown = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in figures)
    links = "".join(f'<a href="#{one.anchor}">{one.heading}{_count(one)}</a>' for one in sections)
    blocks = "\n".join(
        f"""<section id="{one.anchor}" aria-labelledby="h-{one.anchor}">
<h2 id="h-{one.anchor}">{one.heading}{_count(one)}</h2>
{one.body}
</section>"""
        for one in sections
    )
    content = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<style>
{files("lmm_classifier.evaluation.reports").joinpath("style.css").read_text(encoding="utf-8")}
{thumbnails.rules()}
</style>
</head>
<body>
<header>
<h1>{text(title)}</h1>
{f"<dl>{shown}</dl>" if figures else ""}
{f'<nav aria-label="sections">{links}</nav>' if links else "<p>No pictures.</p>"}
</header>
<main>
{blocks}
</main>
<footer><p>{legend}</p></footer>
</body>
</html>
"""
    with replacing_file(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def cards(articles: Sequence[str]) -> str:
    """Lay `articles` out side by side."""
    together = "\n".join(articles)
    return f'<div class="cards">\n{together}\n</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a table; the first column holds names, the others numbers."""
    top = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{text(first)}</th>' + "".join(f"<td>{text(one)}</td>" for one in rest) + "</tr>"
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(path: Path, name: str) -> str:
    """Give the picture at `path`, or the reason why it cannot be shown; `name` is said to those who cannot see it."""
    try:
        image = read_picture(path, min_side=_SIDE).image
    except ImageError as error:
        return f'<p class="placeholder">{text(str(error))}</p>'
    image = ImageOps.contain(image, (_SIDE, _SIDE))
    return f'<img src="{_data_url(image)}" width="{image.width}" height="{image.height}" alt="{text(name)}">'


def _count(section: Section) -> str:
    return "" if section.count is None else f" <span>{section.count}</span>"


def text(value: str) -> str:
    """Give text that HTML and UTF-8 take: markup, control characters and half characters are escaped."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in value)
    return html.escape(safe)


def _data_url(image: Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")


class Thumbnails:
    """The neighbours' pictures: each is read once and written once, as the background of a CSS class."""

    def __init__(self, file_of: Callable[[str], Path]) -> None:
        self._file_of = file_of  # where the picture of an example is
        self._urls: dict[str, str | None] = {}  # path -> data URL, None where there is no picture
        self._numbers: dict[str, int] = {}

    def css_class(self, path: str) -> str:
        """Give the class that shows this picture; `gone` where it cannot be read."""
        if path not in self._urls:
            self._numbers[path] = len(self._numbers)
            self._urls[path] = self._read(self._file_of(path))
        return "gone" if self._urls[path] is None else f"n{self._numbers[path]}"

    def rules(self) -> str:
        """Give the style sheet of all classes that were asked for."""
        shown = ((self._numbers[path], url) for path, url in self._urls.items() if url is not None)
        return "\n".join(f".n{number}{{background-image:url({url})}}" for number, url in shown)

    @staticmethod
    def _read(path: Path) -> str | None:
        try:
            image = read_picture(path, min_side=_NEIGHBOR_SIDE).image
        except ImageError:
            return None
        return _data_url(ImageOps.fit(image, (_NEIGHBOR_SIDE, _NEIGHBOR_SIDE)))
