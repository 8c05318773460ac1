"""`/v1/map`: where the examples lie on the map of the dataset, and which examples these are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.server.background.mapping import MapView
from lmm_classifier.server.openapi import NOT_MODIFIED, described, query
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import AsciiJson, is_current, not_modified, packed
from lmm_classifier.server.reviewing.run_map import items_on_map
from lmm_classifier.server.routes.bodies import whole_number
from lmm_classifier.server.state import ServerState, state_of

router: APIRouter = APIRouter()

_Body = tuple[bytes, dict[str, str]]  # with headers of its own
_RUN = {**query("run", "The run.", {"type": "integer", "minimum": 1}), "required": True}
_OTHERS = {202: "MapState", **NOT_MODIFIED}


@router.get("/v1/map", **described("Six bytes an example", "application/octet-stream", _OTHERS))
async def positions(request: Request) -> Response:
    """Return for each example on the map x and y as int16, and the place of its label as uint16, in little-endian.

    A distance of 1 on the map is 1,000 steps. The map is made in the background; until there is one, 202 says how far
    it is. An older map is returned while a newer one is made: without the examples that were removed, and with the
    labels of now. `X-Map-State` is `current`, `older`, or `running` while a newer one is made. `/v1/map/ids` tells
    which examples these are; the two belong together where their `ETag` is the same.
    """
    return await _answer(request, _records, "application/octet-stream")


@router.get("/v1/map/ids", **described("The examples on the map, in its order", "Map", _OTHERS))
async def ids(request: Request) -> Response:
    """Return the examples on the map, in the order of their positions, and the labels by their places."""
    return await _answer(request, _packed, "application/json")


@router.get(
    "/v1/map/items",
    **described("The open items of a run on the map", "ItemsOnMap", {202: "MapState", 404: "Problem"}, [_RUN]),
)
async def items(request: Request) -> Response:
    """Return where the open items of a run lie: in the middle of their neighbors, by similarity and score.

    Positions are in the distances of the map. Of more than 5,000 open items, 5,000 are returned, and `is_sample` is
    true. An item without a neighbor on the map has no place; `without_place` counts these.
    """
    state, number = state_of(request), whole_number(request.query_params.get("run", ""), "run")
    view = await asyncio.to_thread(state.mapping.view)
    if view is None:
        return _not_yet(state)
    return AsciiJson(await asyncio.to_thread(items_on_map, view, state.reviews.reviewer.runs, number))


async def _answer(request: Request, body_of: Callable[[MapView, str], _Body], media_type: str) -> Response:
    """Answer with a body of the map, with 304 where the client has it, or with 202 until there is one."""
    state = state_of(request)
    view = await asyncio.to_thread(state.mapping.view)
    if view is None:
        return _not_yet(state)
    headers = _headers(state, view)
    if is_current(request, view.tag):
        return not_modified(headers)
    body, packing = await asyncio.to_thread(body_of, view, request.headers.get("accept-encoding", ""))
    return Response(body, headers={**headers, **packing}, media_type=media_type)


def _records(view: MapView, _: str) -> _Body:
    return view.records.tobytes(), {}


def _packed(view: MapView, accepted: str) -> _Body:
    values = {
        "map_version": view.map_version,
        "index_version": view.index_version,
        "is_current": view.is_current,
        "is_sample": view.is_sample,
        "labels": [*view.labels],
        "ids": [*view.hashes],
        "paths": [*view.paths],
        "uncertainty": [*view.uncertainty],
    }
    return packed(json.dumps(values).encode("ascii"), accepted)


def _headers(state: ServerState, view: MapView) -> dict[str, str]:
    is_running = state.mapping.making.state == "running"
    now = "current" if view.is_current else "running" if is_running else "older"
    return {"ETag": view.tag, "X-Map-State": now, "X-Map-Version": str(view.map_version)}


def _not_yet(state: ServerState) -> Response:
    making = state.mapping.making
    if making.state == "failed":
        raise ProblemError("map-unavailable", making.error, {"Retry-After": "30"})
    progress = making.progress
    values: dict[str, Any] = {
        "state": making.state,
        "progress": None
        if progress is None
        else {"stage": progress.stage, "done": progress.done, "total": progress.total},
    }
    return AsciiJson(values, 202, {"Retry-After": "1"})
