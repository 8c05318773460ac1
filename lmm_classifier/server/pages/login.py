"""The page that asks for the token, and keeps it as a cookie that scripts cannot read."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.pages.forms import local
from lmm_classifier.server.routes.session import set_session
from lmm_classifier.server.state import state_of
from lmm_classifier.server.uploads import Upload

router: APIRouter = APIRouter(include_in_schema=False)

_MOST = 10_000  # bytes of the form


@router.get("/login")
def login(request: Request) -> Response:
    """Show the form."""
    return render(request, "login.html", then=local(request.query_params.get("then", "/")), is_wrong=False)


@router.post("/login")
async def enter(request: Request) -> Response:
    """Set the cookie and show the page that was asked for."""
    state = state_of(request)
    upload = Upload(request, state.held, _MOST)
    async with upload.opened():
        form = parse_qs((await upload.whole()).decode("utf-8", "replace"))
    token, then = (form.get(name, [""])[0] for name in ("token", "then"))
    if state.access.permission_of(token.strip()) is None:
        return await run_in_threadpool(render, request, "login.html", 401, then=local(then), is_wrong=True)
    response = RedirectResponse(local(then), 303)
    set_session(request, response, token.strip())
    return response
