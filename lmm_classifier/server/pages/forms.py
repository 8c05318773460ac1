"""Forms of the pages: read with a limit, applied as one edit, and answered with the page that shows the change."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import EditReport
from lmm_classifier.server.pages.environment import text_of
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.state import state_of
from lmm_classifier.server.uploads import Upload

_MOST = 1_000_000  # bytes of a form without images

Form = dict[str, list[str]]


async def read_form(request: Request, most: int = _MOST) -> Form:
    """Return the values of a form by their names.

    Raises:
        ProblemError: it is of another type or too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise ProblemError("unsupported-media-type", f"Expected a form, got {kind!r}.", {"Connection": "close"})
    upload = Upload(request, state_of(request).held, most)
    async with upload.opened():
        data = await upload.whole()
    return parse_qs(data.decode("utf-8", "replace"), keep_blank_values=True, errors="surrogatepass")


def field(form: Form, name: str) -> str:
    """Return the value of a field; raise ProblemError where it is missing or empty."""
    value = form.get(name, [""])[0]
    if not value.strip():
        raise ProblemError("malformed-request", f"The field {name} is empty. Fill it in.")
    return value


def label_of(form: Form) -> str:
    """Return the label of a form: `choice`, which buttons hold as a segment of an address, else the text in `label`.

    White space at the ends of the text is left out, which keyboards of phones add.

    Raises:
        ProblemError: there is none.
    """
    if "choice" in form:
        try:
            return text_of(form["choice"][0])
        except UnicodeDecodeError:
            raise ProblemError("malformed-request", "The field choice is not one of this server.") from None
    return field(form, "label").strip()


def number(text: str, most: int = 10**9) -> int:
    """Return a number of an address, between 0 and `most`; anything else is 0."""
    return min(int(text), most) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


async def applied(
    request: Request, kind: str, edit: Callable[[IndexEditor], EditReport], then: str, visible: bool = True
) -> Response:
    """Make an edit, and lead to an address that tells what was done.

    Args:
        request: the form.
        kind: of the edit.
        edit: makes it.
        then: address of this server.
        visible: wait until results take the edit into account.
    """
    report = await state_of(request).editing.run(kind, edit, visible)
    return RedirectResponse(then if report.edit is None else told(then, report.edit), 303)


def told(address: str, edit: int | str) -> str:
    """Return an address whose page tells of an edit."""
    return f"{address}{'&' if urlsplit(address).query else '?'}edit={edit}"


def local(address: str, default: str = "/") -> str:
    """Return an address of this server; any other becomes `default`."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_local and not address.startswith("/login") else default
