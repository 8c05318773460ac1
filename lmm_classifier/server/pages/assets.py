"""The files that pages load: styles and scripts, at addresses that change with their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import packed

router: APIRouter = APIRouter(include_in_schema=False)

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_SHARED = {"style.css": "lmm_classifier.html"}  # the style of the reports is that of the pages


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, with what its address needs."""

    content: bytes
    digest: str  # of the contents of all files, because scripts import each other by name
    media_type: str


@cache
def assets() -> Mapping[str, Asset]:
    """Return the files by their names."""
    folder = files("lmm_classifier.server.pages").joinpath("static")
    contents = {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in _TYPES}
    contents |= {name: files(package).joinpath(name).read_bytes() for name, package in _SHARED.items()}
    whole = hashlib.sha256()
    for name in sorted(contents):
        whole.update(hashlib.sha256(name.encode() + b"\0" + contents[name]).digest())
    digest = whole.hexdigest()[:16]
    return {name: Asset(content, digest, _TYPES[name.rpartition(".")[2]]) for name, content in contents.items()}


def asset(name: str) -> str:
    """Return the address of a file; raise KeyError where there is none of this name."""
    return f"/static/{assets()[name].digest}/{name}"


@router.get("/static/{digest}/{name}")
def static(request: Request, digest: str, name: str) -> Response:
    """Return a file; its address is that of one content, so that browsers need not ask again."""
    found = assets().get(name)
    if found is None or found.digest != digest:
        raise ProblemError("not-found", "There is no such file. Load the page again.")
    body, packing = packed(found.content, request.headers.get("accept-encoding", ""))
    headers = {"Cache-Control": "public, max-age=31536000, immutable", **packing}
    return Response(body, media_type=found.media_type, headers=headers)
