"""`/v1/thumbs/{id}`: small images of examples and of items of runs."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.server.openapi import FROM_1, described, query
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import CONTENT_HASH, is_current, not_modified
from lmm_classifier.server.routes.bodies import whole_number
from lmm_classifier.server.state import state_of
from lmm_classifier.server.thumbnails import SIDES

router: APIRouter = APIRouter()

_CACHING = "private, immutable, max-age=31536000"
_SIDE = query(
    "side", "Pixels of the longer side; a smaller image stays as it is.", {"type": "integer", "enum": [*SIDES]}
)
_ITEM = query("item", "An item of a run with this content.", FROM_1)


@router.get(
    "/v1/thumbs/{content_hash}",
    **described(
        "A JPEG without metadata",
        "image/jpeg",
        {304: None, 400: "Problem", 404: "Problem", 429: "Problem"},
        [_SIDE, _ITEM],
    ),
)
async def thumb(request: Request, content_hash: str) -> Response:
    """Return a small image of the example with this id, or of this item of a run; originals are never sent."""
    side = request.query_params.get("side", "128")
    if side not in map(str, SIDES):
        raise ProblemError("malformed-request", f"side must be one of {', '.join(map(str, SIDES))}, got {side!r}.")
    state = state_of(request)
    ids = state.ids
    if not CONTENT_HASH.fullmatch(content_hash):
        raise ProblemError("not-found", "Expected the id of an example, 64 hexadecimal digits.")
    tag = f'"{content_hash}-{side}"'
    headers = {"Cache-Control": _CACHING, "ETag": tag}
    if is_current(request, tag):
        return not_modified(headers)
    item = request.query_params.get("item")
    number = None if item is None else whole_number(item, "item")
    file_of = None if number is None else partial(state.reviews.file_of, number, content_hash)
    data = await state.thumbnails.get(ids, content_hash, int(side), file_of)
    return Response(data, headers=headers, media_type="image/jpeg")
