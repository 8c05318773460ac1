"""Templates become pages: every value is escaped, and each page has the frame with the state of the index."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from lmm_classifier.core.index_location import name_of
from lmm_classifier.core.text import escape_unprintable
from lmm_classifier.server.pages.assets import asset
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.state import ServerState, state_of

# what pages begin with that are reached from a page of the navigation
_HOMES = {
    "/": ("/results/",),
    "/review": ("/review/",),
    "/dataset": ("/dataset/", "/edits"),
    "/map": ("/map/",),
    "/quality": ("/quality/",),
}
NAVIGATION = (
    ("/", "Classify"),
    ("/review", "Review"),
    ("/dataset", "Dataset"),
    ("/map", "Map"),
    ("/quality", "Quality"),
)
_TOKEN = "Your token may only read."


@dataclass(frozen=True, slots=True)
class Frame:
    """What the head of each page says of the index."""

    index: str  # name of its folder
    examples: int
    labels: int
    version: int
    is_stale: bool
    is_calibrated: bool
    read_only: str  # why nothing can be changed here; "" where it can
    may_take_over: bool  # whether nothing can be changed only as long as another server makes the edits
    may_ask: bool  # whether the token allows what changes no example, such as an audit


def frame_of(request: Request) -> Frame | None:
    """Return what the head says; None while the index is being opened, and on a page that needs no token."""
    state = state_of(request)
    try:
        classifier = state.classifier
    except ProblemError:
        return None
    permission = state.access.permission(request.headers) if state.access.tokens else "teach"
    if permission is None:  # pages that need no token say nothing of the index
        return None
    contents, may_only_read = classifier.index.contents, permission != "teach"
    return Frame(
        index=name_of(state.config.retrieval.index_path),
        examples=contents.manifest.count,
        labels=_labels(state),
        version=contents.version,
        is_stale=state.is_stale,
        is_calibrated=classifier.retriever.stored is not None,
        read_only=_TOKEN if may_only_read else _why_not(state),
        may_take_over=not may_only_read and _may_take_over(state),
        may_ask=not may_only_read,
    )


def _why_not(state: ServerState) -> str:
    try:
        return state.editing.why_not
    except ProblemError as problem:  # the server ends
        return problem.detail


def _may_take_over(state: ServerState) -> bool:
    try:
        return state.editing.may_take_over
    except ProblemError:  # the server ends
        return False


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; call it in a thread, because it may read what is in the index.

    Args:
        request: tells the server and the address.
        template: file in `templates`.
        status: of the answer.
        values: that the template needs.
    """
    is_public = status == 401 or request.url.path == "/login"
    frame = None if is_public else frame_of(request)
    where = {"path": request.url.path, "url": address_of(request)}
    text = environment().get_template(template).render(frame=frame, **where, **values)
    return HTMLResponse(text, status)


def address_of(request: Request) -> str:
    """Return the address of a page, without what it tells of an edit."""
    raw = request.scope["raw_path"].partition(b"?")[0].decode("latin-1")
    query = [part for part in request.url.query.split("&") if part and not part.startswith("edit=")]
    return f"{raw}?{'&'.join(query)}" if query else raw


@cache
def environment() -> Environment:
    """Return the templates of the pages, and those of the reports, which they share."""
    packages = ("lmm_classifier.server.pages", "lmm_classifier.html")
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": asset, "navigation": NAVIGATION, "homes": _HOMES}
    made.filters |= {"number": lambda value: f"{value:,}", "segment": segment, "exact": exact, "marked": marked}
    return made


def segment(text: str) -> str:
    """Return a text as one segment of an address; labels may hold any characters.

    A mark stands before what browsers would take for a folder above, and before the mark.
    """
    marked = f"~{text}" if text in (".", "..") or text.startswith("~") else text
    return quote(marked, safe="", errors="surrogatepass").replace(".", "%2E")


def exact(text: str) -> Markup:
    """Return a text for the value of a field, with the marks that are not printed; "" where UTF-8 cannot hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return Markup()
    return Markup(escape(text))


def marked(text: str) -> Markup:
    """Return a text whose parts between backticks are shown as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    )


def text_of(segment: str) -> str:
    """Undo `segment`."""
    return unquote(segment, errors="surrogatepass").removeprefix("~")


def last_segment(request: Request, before: str) -> str:
    """Return the text of the segment of the address of a request that follows `before`.

    The path of the framework is decoded, where a slash in a label and one between two segments are the same.

    Raises:
        ProblemError: that is no UTF-8.
    """
    raw = request.scope["raw_path"].partition(b"?")[0].decode("latin-1").removeprefix(before)
    try:
        return text_of(raw.partition("/")[0])
    except UnicodeDecodeError:
        raise ProblemError("not-found", "The address is not one of this server.") from None


def _labels(state: ServerState) -> int:
    contents = state.classifier.index.contents
    return len(state.describe(contents)["labels"])


def _finalize(value: object) -> object:
    """Escape characters that UTF-8 or a reader does not take; jinja2 then escapes markup."""
    return value if hasattr(value, "__html__") else escape_unprintable(str(value))
