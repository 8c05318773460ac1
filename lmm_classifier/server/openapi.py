"""The description of all addresses (OpenAPI 3.1): every status that can come, with the type of its content."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, cast

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier import __version__
from lmm_classifier.server.links import add_links
from lmm_classifier.server.problems import MEDIA_TYPE, ProblemError
from lmm_classifier.server.routes.bodies import MAX_NUMBER, body_schemas
from lmm_classifier.server.routes.inference.tensors import inference_schemas
from lmm_classifier.server.schemas.answers import SCHEMAS
from lmm_classifier.server.schemas.parts import HASH, TEXT

_ALWAYS = (400, 401, 403, 408, 431, 500, 503)  # may come from every address below /v1
NOT_MODIFIED: Mapping[int, str | None] = {304: None}  # for the clients that have the current version
FROM_1: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER}
_IN_PATH: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("run", "edit", "answer"), FROM_1),
    "content_hash": HASH,
    "name": {**TEXT, "description": "Of the index: that of its folder"},
    "slug": {**TEXT, "description": "The end of the `type` of a problem"},
}
_REASONS = {
    202: "It was started, and runs in the background",
    304: "The copy is current",
    400: "The request is malformed",
    401: "A token is needed",
    403: "Not allowed",
    404: "Nothing is there",
    408: "The request came too slowly",
    409: "Examples changed meanwhile; nothing was changed",
    413: "The body is too large",
    415: "The body is of another type",
    422: "The image or the edit is refused",
    429: "Too many wait; `Retry-After` says when to try again",
    431: "The headers are too large",
    500: "The server made a mistake",
    503: "The server starts, ends or cannot classify",
    504: "The deadline passed",
}


def described(
    text: str,
    content: str | Mapping[str, Any],
    others: Mapping[int, str | None] | None = None,
    parameters: Sequence[Mapping[str, Any]] = (),
    body: Mapping[str, Any] | None = None,
    status: int = 200,
) -> dict[str, Any]:
    """Return what a route says of itself. A request with a parameter that is not described is malformed.

    Args:
        text: what the answer is.
        content: a schema of `SCHEMAS`, a media type, or several media types with their schemas.
        others: the schema of each other status, None where it has no content; by default a problem for all that may
            come from every address.
        parameters: of the query and the headers.
        body: media types of the body of the request, with their schemas.
        status: of a good answer.
    """
    statuses: dict[int, str | None] = {**dict.fromkeys(_ALWAYS, "Problem"), **(others or {})}
    responses: dict[int | str, dict[str, Any]] = {status: {"description": text, "content": _content(content)}}
    for code, schema in sorted(statuses.items()):
        kind = {} if schema is None else {"content": _content(schema)}
        responses.setdefault(code, {"description": _REASONS[code], **kind})
    extra: dict[str, Any] = {"parameters": [*parameters]} if parameters else {}
    if body is not None:
        extra["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in body.items()},
        }
    return {
        "responses": responses,
        "openapi_extra": extra,
        "response_class": Response,
        "status_code": status,
        "dependencies": [Depends(require_described)],
    }


class DirectRoute(APIRoute):
    """A route whose endpoint takes the request alone, and is called with it at once: a fortieth of an image's time."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        endpoint = self.endpoint

        async def handler(request: Request) -> Response:
            await require_described(request)
            return cast(Response, await endpoint(request))

        return handler


async def require_described(request: Request) -> None:
    """Raise ProblemError for a parameter of the query that the route does not describe, or that is given twice."""
    given = request.query_params
    if not given:
        return
    described_ones = (request.scope["route"].openapi_extra or {}).get("parameters", ())
    known = {one["name"]: one["schema"].get("type") == "array" for one in described_ones if one["in"] == "query"}
    for name in given:
        if name not in known:
            raise ProblemError("malformed-request", f"There is no parameter {name[:40]!r} here. {_existing([*known])}")
        if not known[name] and len(given.getlist(name)) > 1:
            raise ProblemError("malformed-request", f"The parameter {name} is given more than once.")


def _existing(names: Sequence[str]) -> str:
    return f"Those that exist: {', '.join(names)}." if names else "This address has none."


def query(name: str, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter of the query."""
    return {"name": name, "in": "query", "required": False, "description": text, "schema": dict(schema)}


def header(name: str, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header of a request."""
    return {"name": name, "in": "header", "required": False, "description": text, "schema": dict(schema)}


def reference(schema: str) -> dict[str, str]:
    """Return a reference to a schema of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{schema}"}


def _content(content: str | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(content, str):
        return {kind: {"schema": schema} for kind, schema in content.items()}
    if content == "Problem":
        return {MEDIA_TYPE: {"schema": reference(content)}}
    if "/" in content:
        return {content: {"schema": {"type": "string"} if content.startswith("text/") else {}}}
    return {"application/json": {"schema": reference(content)}}


_IMAGES = {
    "application/octet-stream": {"type": "string", "contentMediaType": "application/octet-stream"},
    "image/*": {"type": "string", "contentMediaType": "application/octet-stream"},
    "multipart/form-data": {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": {
                "type": "array",
                "minItems": 1,
                "maxItems": 64,
                "items": {"type": "string", "contentMediaType": "application/octet-stream"},
            }
        },
        "additionalProperties": False,
    },
}
REFUSED = dict.fromkeys((413, 415, 422, 429, 504), "Problem")
DEADLINE = header("X-Deadline-Ms", "Milliseconds to an answer.", {"type": "integer", "minimum": 1, "maximum": 60_000})


def of_images(text: str, one: str, several: str, parameters: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return what a route says of itself that answers about images of a request.

    Args:
        text: what the answer is.
        one: schema of the answer about one image.
        several: schema of the answer about a form.
        parameters: of the query.
    """
    lines = {"type": "string", "description": "An answer or a problem a line, with its `index`"}
    content = {
        "application/json": {"anyOf": [reference(one), reference(several)]},
        "application/jsonl": lines,
    }
    return described(text, content, REFUSED, [*parameters, DEADLINE], _IMAGES)


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description of an application."""
    values = get_openapi(
        title="lmm-classifier",
        version=__version__,
        openapi_version="3.1.0",
        description="Classifies images by the labeled examples of an index, and changes these examples.",
        routes=app.routes,
    )
    values["components"] = {
        "schemas": SCHEMAS | body_schemas() | inference_schemas(),
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    }
    values["security"] = [{"token": []}, {}]
    for operations in values["paths"].values():
        for operation in operations.values():
            refused = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
            if "HTTPValidationError" in str(refused):  # added for each path with a parameter, which is always text
                del operation["responses"]["422"]
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":  # all of them are text for the routes
                    parameter["schema"] = dict(_IN_PATH[parameter["name"]])
    add_links(values["paths"])
    return values
