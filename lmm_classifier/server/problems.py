"""Errors as `application/problem+json` (RFC 9457): a stable type with a page of its own, and what happened."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from lmm_classifier.core.errors import (
    AnsweredError,
    CalibrationError,
    ClosedError,
    ConfigError,
    ConflictError,
    DatasetError,
    DeadlineError,
    EncoderError,
    ImageError,
    IndexFileError,
    LastExampleError,
    LmmClassifierError,
    NoSuchLabelError,
    NoSuchRunError,
    QueueFullError,
    ReviewError,
    RunsFileError,
    StaleCalibrationError,
    UndoError,
)
from lmm_classifier.core.redaction import quote_foreign

logger: logging.Logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_GONE = 499  # a status that nobody receives, for the metrics: the client closed the connection


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem: the end of its address below `/problems/`, its status, and what its page says."""

    slug: str
    status: int
    title: str
    advice: str


_TYPES = (
    ProblemType("malformed-request", 400, "The request is malformed", "Compare the request with the description."),
    ProblemType(
        "unauthorized", 401, "A token is needed", "Send the header `Authorization: Bearer TOKEN` with a valid token."
    ),
    ProblemType(
        "forbidden-host",
        403,
        "The server is not known by this name",
        "Ask by a name of this machine, or add the name to server.allowed_hosts.",
    ),
    ProblemType(
        "forbidden-origin",
        403,
        "The request comes from a page of another site",
        "Only pages of this server, and programs that are no browser, may ask.",
    ),
    ProblemType("forbidden-scope", 403, "This token may only read", "Use the token that may change the index."),
    ProblemType(
        "read-only",
        403,
        "This server only follows the index",
        "Another server on the same index makes the changes. Ask that one, or end it and start this one again.",
    ),
    ProblemType("not-found", 404, "Nothing is there", "It may have been renamed, removed or forgotten."),
    ProblemType("method-not-allowed", 405, "The method is not allowed here", "The header `Allow` names the methods."),
    ProblemType(
        "slow-client", 408, "The request came too slowly", "Send headers and body faster; the connection was closed."
    ),
    ProblemType(
        "conflict",
        409,
        "The examples changed meanwhile",
        "Nothing was changed. Read the examples again, then decide again.",
    ),
    ProblemType(
        "answered",
        409,
        "Another answer decided these images",
        "Nothing was changed. Read the run again, or undo the other answer first.",
    ),
    ProblemType(
        "last-example",
        409,
        "An index needs an example",
        "Nothing was changed. Add another example first, then try again.",
    ),
    ProblemType("body-too-large", 413, "The body is too large", "Send a smaller image, or fewer images in one form."),
    ProblemType(
        "unsupported-media-type",
        415,
        "The body is of another type",
        "Send the bytes of an image as application/octet-stream or image/*, or a form as multipart/form-data.",
    ),
    ProblemType(
        "unreadable-image", 422, "The image cannot be classified", "Send another image; the detail says what is wrong."
    ),
    ProblemType(
        "no-such-label", 422, "The index has no such label", "GET /v1/labels lists those that it has; compare the name."
    ),
    ProblemType("refused-edit", 422, "The edit cannot be made", "Nothing was changed; the detail says why."),
    ProblemType("refused-run", 422, "The run cannot be started", "Nothing was changed; the detail says why."),
    ProblemType("refused-answer", 422, "The answer cannot be taken", "Nothing was changed; the detail says why."),
    ProblemType(
        "calibration-conflict",
        409,
        "The calibration cannot be changed now",
        "Calibrate the index on the page Quality, or by `recalibrate` in POST /v1/calibration; or wait for the "
        "calibration under way.",
    ),
    ProblemType(
        "refused-calibration",
        422,
        "The calibration cannot be made",
        "Nothing was stored. The detail says how many examples it takes; add images, or ask for less.",
    ),
    ProblemType(
        "queue-full",
        429,
        "Too much waits already",
        "What was sent was not taken. Send it again after the seconds of the header `Retry-After`.",
    ),
    ProblemType("headers-too-large", 431, "The headers are too large", "Send fewer or shorter headers."),
    ProblemType("internal-error", 500, "The server made a mistake", "The log of the server has the details."),
    ProblemType("starting", 503, "The server is starting", "Try again in some seconds; /readyz says when it is ready."),
    ProblemType("draining", 503, "The server is ending", "Try again; another server may answer then."),
    ProblemType("encoder-failed", 503, "The encoder failed", "The log of the server has the details."),
    ProblemType("index-unavailable", 503, "The index cannot be used now", "The log of the server has the details."),
    ProblemType("map-unavailable", 503, "The map cannot be made now", "The log of the server has the details."),
    ProblemType("review-unavailable", 503, "Runs cannot be used now", "The log of the server has the details."),
    ProblemType(
        "too-many-connections", 503, "Too many connections are open", "Try again later, and use connections again."
    ),
    ProblemType(
        "deadline-passed",
        504,
        "The deadline passed",
        "The image was not answered in time. Try again, or allow more time with the header `X-Deadline-Ms`.",
    ),
)
_SAID: Mapping[type[Exception], str] = {  # errors whose text says all, the special ones before the general
    DeadlineError: "deadline-passed",
    NoSuchRunError: "not-found",
    AnsweredError: "answered",
    ReviewError: "refused-answer",
    StaleCalibrationError: "calibration-conflict",
    CalibrationError: "refused-calibration",
    NoSuchLabelError: "no-such-label",
    LastExampleError: "last-example",
    DatasetError: "refused-edit",
    UndoError: "refused-edit",
}
PROBLEMS: Mapping[str, ProblemType] = {problem.slug: problem for problem in _TYPES}
_COMMANDS = re.compile(r"(?:\b([Rr])un )?`lmm-classifier (\w+)[^`]*`(?:,? or `lmm-classifier \w+[^`]*`)*")
_CALIBRATE = "by `recalibrate` in POST /v1/calibration, or on the page Quality"


def over_http(text: str) -> str:
    """Return a text of the library in which a client of the server is told what it can do instead of a command."""

    def instead(found: re.Match[str]) -> str:
        if "`lmm-classifier calibrate" in found[0]:
            return f"{'C' if found[1] == 'R' else 'c'}alibrate ({_CALIBRATE})"
        return f"{found[0]} on the machine of the server"

    return _COMMANDS.sub(instead, text)


class ProblemError(Exception):
    """A problem that a route found; it becomes the answer.

    Args:
        slug: names the type.
        detail: what happened this time.
        headers: of the answer.
        members: more members of the answer.
    """

    def __init__(
        self,
        slug: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.slug: str = slug
        self.detail: str = detail
        self.headers: dict[str, str] = dict(headers or {})
        self.members: dict[str, Any] = dict(members or {})


def problem_of(error: Exception) -> ProblemError:
    """Return the problem that an error of the library is, without anything about the disk of the server."""
    match error:
        case ProblemError() | HTTPException():
            return error if isinstance(error, ProblemError) else _of_framework(error)
        case QueueFullError():
            queue = {"depth": error.depth, "limit": error.limit, "expected_wait_s": round(error.retry_after, 3)}
            headers, is_counted = {"Retry-After": whole_seconds(error.retry_after)}, error.limit > 0
            return ProblemError("queue-full", str(error), headers, {"queue": queue} if is_counted else {})
        case ImageError():
            return ProblemError("unreadable-image", str(error), members={"kind": error.kind})
        case ClosedError():
            return ProblemError("draining", "The server ends. The image was not answered.", {"Retry-After": "1"})
        case EncoderError():
            logger.error("The encoder failed: %s", error)
            return ProblemError("encoder-failed", "The encoder gave no vector.", {"Retry-After": "10"})
        case ConflictError():
            conflicts = [
                {"path": path, "seen_label": seen, "label": label} for path, (seen, label) in error.conflicts.items()
            ]
            return ProblemError("conflict", str(error), members={"conflicts": conflicts})
        case RunsFileError():
            logger.error("The runs cannot be used: %s", error)
            return ProblemError("review-unavailable", "Runs cannot be read or stored now.", {"Retry-After": "10"})
        case DeadlineError() | ReviewError() | CalibrationError() | DatasetError() | UndoError() | NoSuchLabelError():
            slug = next(slug for kind, slug in _SAID.items() if isinstance(error, kind))
            return ProblemError(slug, over_http(str(error)))
        case IndexFileError() | ConfigError():
            logger.error("The index cannot be used: %s", error)
            return ProblemError("index-unavailable", "The index cannot be read or changed.", {"Retry-After": "10"})
        case LmmClassifierError():
            logger.error("A request failed: %s: %s", type(error).__name__, error)
            return ProblemError("internal-error", "The request failed.")
    logger.error("A request failed.", exc_info=error)
    return ProblemError("internal-error", "The request failed.")


def _of_framework(error: HTTPException) -> ProblemError:
    slugs = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}
    slug = slugs.get(error.status_code, "malformed-request")
    detail = "The address is not one of this server." if error.detail == "Not Found" else f"{error.detail}."
    return ProblemError(slug, detail, {**(error.headers or {})})


def whole_seconds(seconds: float) -> str:
    """Return a value for `Retry-After`: whole seconds, at least 1 and at most an hour."""
    return str(min(max(math.ceil(seconds), 1), 3600)) if math.isfinite(seconds) else "3600"


def problem_values(problem: ProblemError, instance: str) -> dict[str, Any]:
    """Return the members of a problem; `instance` is the address of the request."""
    kind = PROBLEMS[problem.slug]
    return {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": quote_foreign(problem.detail, limit=1000),
        "instance": instance,
        **problem.members,
    }


def problem_response(problem: ProblemError, instance: str) -> Response:
    """Return the answer for a problem."""
    body = json.dumps(problem_values(problem, instance)).encode("ascii")
    return Response(body, PROBLEMS[problem.slug].status, problem.headers, MEDIA_TYPE)


def instance_of(scope: Mapping[str, Any]) -> str:
    """Return the path of a request as it was sent, percent-encoded, without the query."""
    raw = bytes(scope.get("raw_path") or b"").partition(b"?")[0]
    return raw.decode("ascii", "replace")[:2000]


async def answer_problem(request: Request, error: Exception) -> Response:
    """Turn an error of a route into its answer."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=_GONE)
    return problem_response(problem_of(error), instance_of(request.scope))
