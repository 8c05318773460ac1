"""`/v2`: the Open Inference Protocol, the one of KServe, Triton and MLServer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier import __version__
from lmm_classifier.batching.queued_image import QueuedResult
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.index_location import name_of
from lmm_classifier.server.openapi import DEADLINE, REFUSED, described, header, reference
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import AsciiJson
from lmm_classifier.server.routes.inference.tensors import IMAGE_TENSOR, Wanted, read_inference
from lmm_classifier.server.routes.inference.uploaded_images import (
    Asked,
    deadline_of,
    require_place,
    result_of,
    submitted,
)
from lmm_classifier.server.state import ServerState, state_of
from lmm_classifier.server.uploads import Upload

router: APIRouter = APIRouter()

_OUTPUTS = {"label": "BYTES", "score": "FP64", "reason": "BYTES"}
_TYPES = {"", "application/json", "application/octet-stream"}
_NO_MODEL: dict[int, str | None] = {404: "Problem"}
_BINARY = header(
    "Inference-Header-Content-Length", "Bytes of the JSON, where binary data follows.", {"type": "integer"}
)


@router.get("/v2", **described("The server and its version", "InferenceServer"))
async def server_metadata() -> Response:
    """Say what the server is, and which extensions it has."""
    return AsciiJson({"name": "lmm-classifier", "version": __version__, "extensions": ["binary_tensor_data"]})


@router.get("/v2/health/live", **described("The server lives", "InferenceLive", {}))
async def live() -> Response:
    """Say that the server answers."""
    return AsciiJson({"live": True})


@router.get("/v2/health/ready", **described("Images are classified", "InferenceReady", {503: "InferenceReady"}))
async def ready(request: Request) -> Response:
    """Say whether images are classified, as `/readyz` does."""
    return _ready(state_of(request))


@router.get("/v2/models/{name}", **described("The one model", "InferenceModel", _NO_MODEL))
async def model(request: Request, name: str) -> Response:
    """Describe the model: its name is that of the index, its version that of the index that answers."""
    state = _state(request, name)
    inputs = [{"name": IMAGE_TENSOR, "datatype": "BYTES", "shape": [-1]}]
    return AsciiJson(
        {
            "name": name,
            "versions": [str(state.ids.contents.version)],
            "platform": "lmm-classifier",
            "inputs": inputs,
            "outputs": [{"name": output, "datatype": kind, "shape": [-1]} for output, kind in _OUTPUTS.items()],
        }
    )


@router.get(
    "/v2/models/{name}/ready",
    **described("Images are classified", "InferenceReady", {**_NO_MODEL, 503: "InferenceReady"}),
)
async def model_ready(request: Request, name: str) -> Response:
    """Say whether images are classified, as `/readyz` does."""
    return _ready(_state(request, name))


@router.post(
    "/v2/models/{name}/infer",
    **described(
        "The labels, scores and reasons of the images",
        "InferenceResponse",
        {**REFUSED, **_NO_MODEL},
        [_BINARY, DEADLINE],
        {
            "application/json": reference("InferenceRequest"),
            "application/octet-stream": {"type": "string", "contentMediaType": "application/octet-stream"},
        },
    ),
)
async def infer(request: Request, name: str) -> Response:
    """Classify the images of one tensor `image` of bytes; outputs come as JSON.

    In JSON, each element is an image in base64. With `Inference-Header-Content-Length`, the images follow the JSON in
    binary. One that cannot be read has the reason `unreadable`.
    """
    state = _state(request, name)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise ProblemError("unsupported-media-type", f"The content type is {kind!r}.", {"Connection": "close"})
    require_place(request, state)
    asked = Asked(deadline_of(request, state), _values)
    settings, length = state.settings, request.headers.get("inference-header-content-length")
    upload = Upload(request, state.held, 2 * settings.max_body if length is None else settings.max_multipart)
    async with upload.opened():
        wanted, images = await _read(upload, length, settings.max_parts)
        if any(len(image) > settings.max_body for image in images):
            raise ProblemError("body-too-large", f"An image has more than {settings.max_body:,} bytes.")
        names = wanted.outputs or [*_OUTPUTS]
        if unknown := [output for output in names if output not in _OUTPUTS]:
            raise ProblemError("malformed-request", f"There is no output {unknown[0][:40]!r}.")
        first = submitted(state, images[0], asked)
        parts = (
            result_of(place, image, upload, state, asked, None if place else first)
            for place, image in enumerate(images)
        )
        answers = await asyncio.gather(*parts)
    for answer in answers:
        if answer["problem"] is not None:
            raise answer["problem"]
    return AsciiJson(
        {
            "model_name": name,
            "model_version": str(state.ids.contents.version),
            **({} if wanted.id is None else {"id": wanted.id}),
            "outputs": [_output(output, [answer["result"] for answer in answers]) for output in names],
        }
    )


async def _read(upload: Upload, length: str | None, most: int) -> tuple[Wanted, list[bytes]]:
    """Read a body; afterwards only the bytes of its images count."""
    body = await upload.whole()
    copies = len(body) if length is not None else 2 * len(body)  # the images, and in JSON their texts before
    upload.holds(copies)
    wanted, images = await asyncio.to_thread(read_inference, body, length, most)
    upload.taken(len(body) + copies - sum(map(len, images)))
    return wanted, images


def _values(result: Classification, _: QueuedResult) -> dict[str, Any]:
    return {"label": result.label, "score": result.score, "reason": result.decision.reason}


def _output(name: str, results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    data = [result[name] for result in results]
    return {"name": name, "datatype": _OUTPUTS[name], "shape": [len(data)], "data": data}


def _ready(state: ServerState) -> Response:
    is_ready = not state.why_not_ready()
    return AsciiJson({"ready": is_ready}, 200 if is_ready else 503)


def _state(request: Request, name: str) -> ServerState:
    """Return the state of the server; raise ProblemError unless the model has this name."""
    state = state_of(request)
    if name != name_of(state.config.retrieval.index_path):
        raise ProblemError("not-found", "There is no model of this name. The name is that of the folder of the index.")
    return state
