"""The map of the dataset; its script draws it, and makes edits through the addresses for programs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.pages.notices import notice_of
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter(include_in_schema=False)

_LABELS = 2000  # offered for completion


@router.get("/map")
def map_page(request: Request) -> Response:
    """Show the frame of the map."""
    labels = [*state_of(request).ids.rows_by_label][:_LABELS]
    return render(request, "map.html", labels=labels, notice=notice_of(request))
