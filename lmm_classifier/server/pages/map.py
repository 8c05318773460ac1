"""The map of the dataset; its script draws it, and makes edits through the addresses for programs."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.pages.notices import notice_of
from lmm_classifier.server.pages.review import title_of
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter(include_in_schema=False)

_LABELS = 2000  # offered for completion
_RUNS = 50  # whose open images can be shown


@router.get("/map")
def map_page(request: Request) -> Response:
    """Show the frame of the map."""
    state = state_of(request)
    labels = [*state.ids.rows_by_label][:_LABELS]
    reviews = state.reviews
    listed = [] if reviews.why_not else reviews.reviewer.runs.runs(_RUNS)
    runs = [(run.id, f"{title_of(reviews.run_values(run))}, {run.open:,} open") for run in listed if run.open]
    return render(request, "map.html", labels=labels, runs=runs, notice=notice_of(request))
