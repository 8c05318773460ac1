"""The application: all routes of one server, behind its rules of access."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.server.metrics import CountedRequests
from lmm_classifier.server.openapi import describe
from lmm_classifier.server.pages import assets, dataset, login, quality
from lmm_classifier.server.pages import audit as audit_page
from lmm_classifier.server.pages import classify as classify_page
from lmm_classifier.server.pages import description as page_description
from lmm_classifier.server.pages import edits as edits_page
from lmm_classifier.server.pages import map as map_page
from lmm_classifier.server.pages import review as review_page
from lmm_classifier.server.pages.errors import answer_error
from lmm_classifier.server.pages.results.recent_images import RecentImages
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.routes import (
    audit,
    calibration,
    dataset_map,
    description,
    edits,
    examples,
    health,
    index,
    metrics,
    review,
    runs,
    session,
    thumbs,
)
from lmm_classifier.server.routes.inference import classify, embed, open_inference
from lmm_classifier.server.security.access import Access, AccessControl
from lmm_classifier.server.security.head_requests import HeadRequests
from lmm_classifier.server.security.headers import SecurityHeaders
from lmm_classifier.server.state import ServerState

_ROUTES = (
    *(classify, embed, open_inference, examples, edits, index, calibration, audit, dataset_map, runs, review, thumbs),
    *(session, health, metrics, description),
)
_PAGES = (
    *(assets, login, classify_page, audit_page, dataset, edits_page, review_page, map_page, quality),
    page_description,
)


def create_app(
    config: PipelineConfig,
    encoder: Encoder | Sequence[Encoder] | None = None,
    access: Access | None = None,
    on_failure: Callable[[], None] | None = None,
) -> tuple[ASGIApp, ServerState]:
    """Return the application, and its state. The classifier is opened when the application starts.

    Args:
        config: of the classifier and of the server.
        encoder: encoders that are loaded already; by default the configured ones are loaded.
        access: who may ask; by default the rules of `config.server` with the tokens of the environment.
        on_failure: called where the classifier cannot be opened; `failure` of the state says why.

    Raises:
        ConfigError: other machines can reach the server, and there is no token.
    """
    state = ServerState(config, access or Access.of(config.server), encoder)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async def opened() -> None:
            await state.open()
            if state.failure is not None and on_failure is not None:
                on_failure()

        opening = asyncio.create_task(opened())
        try:
            yield
        finally:
            await opening
            await state.close()

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    app.state.server = state
    app.state.recent_images = RecentImages()
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    for error in (ProblemError, LmmClassifierError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(error, answer_error)
    for routes in (*_ROUTES, *_PAGES):
        app.include_router(routes.router)
    guarded = AccessControl(app, state.access)
    counted = CountedRequests(HeadRequests(guarded), state.metrics)
    return SecurityHeaders(counted, lambda: state.index_version), state
