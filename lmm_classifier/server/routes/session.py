"""A page exchanges a token for a cookie, which scripts cannot read."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.server.openapi import described, reference
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import AsciiJson
from lmm_classifier.server.routes.bodies import Login, read_body
from lmm_classifier.server.security.access import COOKIE, session_of
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter()

_SECONDS = 30 * 24 * 3600  # that a cookie is kept


@router.post(
    "/v1/session",
    **described(
        "The cookie is set",
        "Session",
        {413: "Problem", 415: "Problem", 429: "Problem"},
        body={"application/json": reference("Login")},
    ),
)
async def login(request: Request) -> Response:
    """Set a cookie that stands for the token."""
    state = state_of(request)
    body = await read_body(request, state, Login)
    permission = state.access.permission_of(body.token)
    if permission is None:
        raise ProblemError("unauthorized", "The token is wrong, or none is needed.", {"WWW-Authenticate": "Bearer"})
    response = AsciiJson({"permission": permission})
    set_session(request, response, body.token)
    return response


def set_session(request: Request, response: Response, token: str) -> None:
    """Let an answer set the cookie that stands for a valid token."""
    is_secure = request.headers.get("origin", "").startswith("https://")  # a proxy may end TLS
    value = session_of(token).decode()
    response.set_cookie(COOKIE, value, max_age=_SECONDS, httponly=True, samesite="strict", secure=is_secure)


@router.delete("/v1/session", **described("The cookie is forgotten", "Session"), include_in_schema=False)
async def logout() -> Response:
    """Forget the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
