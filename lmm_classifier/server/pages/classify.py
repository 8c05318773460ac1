"""The first page: images are given, and each gets its result, with the neighbors that show why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import cast

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import ImageError
from lmm_classifier.data.images import decode
from lmm_classifier.html.thumbnails import jpeg, reduced
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import EditReport
from lmm_classifier.pipeline.stages.unreadable import unreadable
from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.pages.forms import applied, label_of, read_form
from lmm_classifier.server.pages.notices import notice_of
from lmm_classifier.server.pages.results.recent_images import RecentImage, RecentImages
from lmm_classifier.server.pages.results.result_cards import ResultCard, result_card
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import CONTENT_HASH
from lmm_classifier.server.routes.examples import ORIGIN
from lmm_classifier.server.state import ServerState, state_of
from lmm_classifier.server.thumbnails import SIDES
from lmm_classifier.server.uploads import IMAGE, FormParts, Upload, boundary_of

router: APIRouter = APIRouter(include_in_schema=False)

_MOST = 20  # images that are shown together; more become a run
_PATIENCE = 60.0  # seconds that a person waits at most


@router.get("/")
async def first(request: Request) -> Response:
    """Show the place for images, and the results of those that the address names."""
    named = [name for name in request.query_params.get("images", "").split(" ") if CONTENT_HASH.fullmatch(name)]
    kept = [image for name in named[:_MOST] if (image := _recent(request).get(name))]
    cards = await asyncio.gather(*(_card(request, image) for image in kept))
    if _is_partial(request):  # something was undone, which may be about any of them
        return await run_in_threadpool(_cards, request, cards, are_alone=True)
    lost = len(named[:_MOST]) - len(cards)
    return await run_in_threadpool(_page, request, cards, lost)


@router.post("/")
async def given(request: Request) -> Response:
    """Classify the images of a form; a script gets the cards alone, a browser is led to their address."""
    state = state_of(request)
    boundary = boundary_of(request.headers.get("content-type", ""))
    if boundary is None:
        raise ProblemError("unsupported-media-type", "Expected a form with images.", {"Connection": "close"})
    upload = Upload(request, state.held, state.settings.max_multipart)
    async with upload.opened():
        parts = FormParts(upload, boundary, state.settings.max_body, state.settings.max_parts)
        images = [part.data async for part in parts if part.name == IMAGE and part.data]
        if not images:
            raise ProblemError("malformed-request", "No image was chosen. Choose one, or drop one on the page.")
        if len(images) > _MOST:
            raise ProblemError("body-too-large", f"Got {len(images)} images, at most {_MOST} are shown together.")
        recent = [await _answered(request, data) for data in images]
    if "hx-request" in request.headers:
        cards = [await _card(request, image) for image in recent]
        return await run_in_threadpool(_cards, request, cards)
    names = list(dict.fromkeys(image.content_hash for image in recent))
    where = f"/results/{names[0]}" if len(names) == 1 else f"/?images={'+'.join(names)}"
    return RedirectResponse(where, 303)


@router.get("/results/{content_hash}")
async def result(request: Request, content_hash: str) -> Response:
    """Show the result of one image, as the index answers now."""
    card = await _card(request, _found(request, content_hash))
    if _is_partial(request):
        return await run_in_threadpool(_cards, request, [card])
    return await run_in_threadpool(_page, request, [card], 0)


@router.get("/results/{content_hash}/image")
async def image(request: Request, content_hash: str) -> Response:
    """Return the image as a small JPEG."""
    state, recent = state_of(request), _found(request, content_hash)
    side = request.query_params.get("side", "256")
    if side not in map(str, SIDES):
        raise ProblemError("malformed-request", f"side must be one of {', '.join(map(str, SIDES))}.")

    def made() -> bytes:
        return jpeg(reduced(decode(recent.data, state.config.images.limits, int(side)), int(side)))

    headers = {"Cache-Control": "private, immutable, max-age=3600"}
    return Response(await asyncio.to_thread(made), headers=headers, media_type="image/jpeg")


@router.get("/results/{content_hash}/compare/{example}")
async def compare(request: Request, content_hash: str, example: str) -> Response:
    """Show an image and a neighbor side by side."""
    card = await _card(request, _found(request, content_hash))
    near = [near for near in card.neighbors if near.id]
    place = next((place for place, one in enumerate(near) if one.id == example), None)
    if place is None:
        raise ProblemError("not-found", "This example is not near the image any more.")
    return await run_in_threadpool(render, request, "compare.html", card=card, near=near, place=place)


@router.post("/results/{content_hash}/teach")
async def teach(request: Request, content_hash: str) -> Response:
    """Make an image an example of a label; where it is one already, give it this label."""
    state, recent = state_of(request), _found(request, content_hash)
    label = label_of(await read_form(request, 10_000))
    seen = {example.path: example.label for example in state.ids.examples(state.ids.rows_of(content_hash))}
    paths = list(seen)

    def edit(editor: IndexEditor) -> EditReport:
        if paths:
            return editor.relabel(paths, label, expect=seen, origin=ORIGIN)
        return editor.add([recent.data], label, origin=ORIGIN)

    return await applied(request, "relabel" if paths else "add", edit, f"/results/{content_hash}")


def _is_partial(request: Request) -> bool:
    """Return whether a script asks for parts of the page."""
    return "hx-request" in request.headers and "hx-boosted" not in request.headers


def _cards(request: Request, cards: Sequence[ResultCard], are_alone: bool = False) -> Response:
    return render(request, "cards_alone.html", cards=cards, are_alone=are_alone, notice=notice_of(request))


def _page(request: Request, cards: Sequence[ResultCard], lost: int) -> Response:
    state = state_of(request)
    labels = state.classifier.index.label_names
    notice = notice_of(request)
    return render(request, "classify.html", cards=cards, lost=lost, labels=labels, notice=notice, most=_MOST)


async def _answered(request: Request, data: bytes) -> RecentImage:
    """Classify an image and keep it."""
    state = state_of(request)
    content_hash = await asyncio.to_thread(lambda: sha256(data).hexdigest())
    version = state.index_version
    try:
        future = state.queue.submit(data, _PATIENCE)
        answer = await asyncio.wrap_future(future)
        state.count(answer, future.stages)
    except ImageError as error:
        answer = _unreadable(state, error, content_hash)
    kept = RecentImage(content_hash, b"" if answer.decision.reason == "unreadable" else data, answer, version)
    _recent(request).put(kept)
    return kept


async def _card(request: Request, recent: RecentImage) -> ResultCard:
    """Return the card of an image; it is classified again where the index has changed."""
    state = state_of(request)
    if recent.data and recent.version != state.index_version:
        recent = await _answered(request, recent.data)
    is_calibrated = state.classifier.retriever.stored is not None
    return await run_in_threadpool(result_card, recent.content_hash, recent.result, state.ids, is_calibrated)


def _unreadable(state: ServerState, error: ImageError, content_hash: str) -> Classification:
    return unreadable(state.config.unknown_label, None, error, content_hash)


def _recent(request: Request) -> RecentImages:
    return cast(RecentImages, request.app.state.recent_images)


def _found(request: Request, content_hash: str) -> RecentImage:
    found = _recent(request).get(content_hash)
    if found is None:
        raise ProblemError("not-found", "The server does not have this image any more. Give it again.")
    return found
