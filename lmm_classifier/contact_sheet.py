"""A contact sheet: one HTML file that shows every picture with its verdict and the evidence for it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from PIL import ImageOps
from PIL.Image import Image

from lmm_classifier.atomic import replacing_file
from lmm_classifier.datatypes import Classification, Neighbor
from lmm_classifier.errors import ImageError
from lmm_classifier.images import read_picture

_SIDE = 128  # pixels of a picture's longer side
_NEIGHBOR_SIDE = 64  # pixels of a neighbour's square
_NEIGHBORS = 5
_QUALITY = 72  # JPEG; a page of 300 cards stays under 6 MB


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of the sheet, what was said about it, and what it truly shows, where that is known."""

    picture: Path
    result: Classification
    truth: str | None = None


def write_contact_sheet(
    path: Path, title: str, summary: Sequence[tuple[str, str]], entries: Iterable[Entry], image_root: Path
) -> None:
    """Write the sheet to `path`: the (name, value) pairs of `summary`, then a card per entry, mistakes first.

    Neighbours' pictures are looked up under `image_root`, whose folders are the labels: a picture whose truth is not
    one of them is right when it is called unknown. A picture that cannot be read gets a placeholder.
    """
    entries = list(entries)
    labels = _labels(image_root, entries)
    thumbnails = _Thumbnails(image_root)
    sections: dict[str, list[str]] = {name: [] for name, _ in _SECTIONS}
    for entry in entries:
        verdict = _judge(entry, labels)
        sections[_section(entry.result, verdict)].append(_card(entry, verdict, thumbnails))
    page = _page(title, summary, sections, thumbnails)
    with replacing_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


# Judging ------------------------------------------------------------------------------------------------------------

_SECTIONS = (
    ("mistakes", "Mistakes"),
    ("asked", "Asked again"),
    ("unknown", "Unknown"),
    ("rest", "Named at first sight"),
)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Whether the answer is right (None where that cannot be said), and the words for it."""

    right: bool | None
    words: str = ""


def _labels(image_root: Path, entries: Sequence[Entry]) -> set[str]:
    """All labels of the corpus that can be learned from its folders and from the candidates."""
    seen = {candidate.label for entry in entries for candidate in entry.result.candidates}
    folders = {child.name for child in image_root.iterdir() if child.is_dir()} if image_root.is_dir() else set()
    return seen | folders


def _judge(entry: Entry, labels: set[str]) -> _Verdict:
    if entry.truth is None or entry.result.decision.reason == "unreadable":
        return _Verdict(None)
    if entry.truth not in labels:
        right = entry.result.is_unknown
        return _Verdict(right, f"{'right, a stranger' if right else 'wrong, a stranger'}: {entry.truth}")
    right = not entry.result.is_unknown and entry.result.label == entry.truth
    return _Verdict(right, "right" if right else f"wrong, it is {entry.truth}")


def _section(result: Classification, verdict: _Verdict) -> str:
    if verdict.right is False:
        return "mistakes"
    if result.used_reranker or result.decision.reason in ("reranked", "reranker_failed"):
        return "asked"
    return "unknown" if result.is_unknown else "rest"


# Pictures -----------------------------------------------------------------------------------------------------------


def _data_url(image: Image) -> str:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")


class _Thumbnails:
    """The neighbours' pictures: each is read once and written once, as the background of a CSS class."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._urls: dict[str, str | None] = {}  # path -> data URL, None where there is no picture
        self._numbers: dict[str, int] = {}

    def css_class(self, path: str) -> str:
        """Give the class that shows this picture; `gone` where it cannot be read."""
        if path not in self._urls:
            self._numbers[path] = len(self._numbers)
            self._urls[path] = self._read(self._root / path)
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


# Writing ------------------------------------------------------------------------------------------------------------


def _text(value: str) -> str:
    """Give text that HTML and UTF-8 take: markup, control characters and half characters are escaped."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in value)
    return html.escape(safe)


def _card(entry: Entry, verdict: _Verdict, thumbnails: _Thumbnails) -> str:
    result, name = entry.result, _text("/".join(entry.picture.parts[-2:]))
    label = (
        f'<h3 class="unknown">{_text(result.label)}</h3>' if result.is_unknown else f"<h3>{_text(result.label)}</h3>"
    )
    badge = '<span class="badge">second look</span>' if result.used_reranker else ""
    neighbors = "".join(_neighbor(neighbor, thumbnails) for neighbor in _nearest(result))
    return f"""<article>
<div class="mount">{_picture(entry, name)}</div>
<div class="verdict">{label}{_mark(verdict)}{_score(result)}{badge}</div>
<p class="why">{_text(result.why)}</p>
{f'<ul class="near" aria-label="nearest examples">{neighbors}</ul>' if neighbors else ""}
<p class="name">{name}</p>
</article>"""


def _picture(entry: Entry, name: str) -> str:
    try:
        image = read_picture(entry.picture, min_side=_SIDE).image
    except ImageError as error:
        return f'<p class="placeholder">{_text(str(error))}</p>'
    image = ImageOps.contain(image, (_SIDE, _SIDE))
    return f'<img src="{_data_url(image)}" width="{image.width}" height="{image.height}" alt="{name}">'


def _mark(verdict: _Verdict) -> str:
    if verdict.right is None:
        return ""
    kind, sign = ("right", "✓") if verdict.right else ("wrong", "✗")
    return f'<p class="{kind}"><span aria-hidden="true">{sign}</span> {_text(verdict.words)}</p>'


def _score(result: Classification) -> str:
    if not result.candidates:
        return ""
    percent = 100 * min(max(result.score, 0.0), 1.0)
    bar = f'<span class="bar" aria-hidden="true"><i style="width:{percent:.0f}%"></i></span>'
    best = f"best label {_text(result.candidates[0].label)}, " if result.is_unknown else ""
    return f'<p class="score">{bar} <span class="number">{best}score {result.score:.2f}</span></p>'


def _nearest(result: Classification) -> list[Neighbor]:
    neighbors = [neighbor for candidate in result.candidates for neighbor in candidate.neighbors]
    return sorted(neighbors, key=lambda neighbor: -neighbor.similarity)[:_NEIGHBORS]


def _neighbor(neighbor: Neighbor, thumbnails: _Thumbnails) -> str:
    label, path = _text(neighbor.example.label), _text(neighbor.example.path)
    kind = thumbnails.css_class(neighbor.example.path)
    said = "no picture: " if kind == "gone" else ""
    return (
        f'<li><span class="thumb {kind}" role="img" aria-label="{said}{path}" title="{said}{path}"></span>'
        f'<span class="label" title="{label}">{label}</span><span class="number">{neighbor.similarity:.2f}</span></li>'
    )


def _page(
    title: str, summary: Sequence[tuple[str, str]], sections: dict[str, list[str]], thumbnails: _Thumbnails
) -> str:
    figures = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in summary)
    shown = [(anchor, heading, sections[anchor]) for anchor, heading in _SECTIONS if sections[anchor]]
    links = "".join(f'<a href="#{anchor}">{heading} <span>{len(cards)}</span></a>' for anchor, heading, cards in shown)
    blocks = "\n".join(_block(anchor, heading, cards) for anchor, heading, cards in shown)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>
{_style()}
{thumbnails.rules()}
</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
{f"<dl>{figures}</dl>" if figures else ""}
{f'<nav aria-label="sections">{links}</nav>' if links else "<p>No pictures.</p>"}
</header>
<main>
{blocks}
</main>
<footer><p>{_LEGEND}</p></footer>
</body>
</html>
"""


def _style() -> str:
    return files("lmm_classifier").joinpath("contact_sheet.css").read_text(encoding="utf-8")


def _block(anchor: str, heading: str, cards: Sequence[str]) -> str:
    together = "\n".join(cards)
    return f"""<section id="{anchor}" aria-labelledby="h-{anchor}">
<h2 id="h-{anchor}">{heading} <span>{len(cards)}</span></h2>
<div class="cards">
{together}
</div>
</section>"""


_LEGEND = (
    "<b>Score</b>: the share of the best label, 0 to 1, higher is surer; on an unknown it belongs to the best label, "
    "which was not near enough. <b>Small pictures</b>: the nearest examples of the corpus with their label and "
    "cosine similarity, at most 1, higher is nearer."
)
