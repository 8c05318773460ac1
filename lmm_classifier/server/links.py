"""Which answers name what another address takes: the links of the description, for generated clients and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Link(NamedTuple):
    """What another operation takes from an answer; values are runtime expressions of OpenAPI."""

    name: str
    target: str  # as "GET /v1/runs"
    parameters: Mapping[str, str] = {}
    body: Mapping[str, Any] | None = None

    def described(self, operation_id: str) -> dict[str, Any]:
        """Return the link as the description has it."""
        taken = {"parameters": dict(self.parameters)} if self.parameters else {}
        body = {} if self.body is None else {"requestBody": dict(self.body)}
        return {"operationId": operation_id, **taken, **body}


def _in_answer(pointer: str) -> str:
    return f"$response.body#/{pointer}"


def _of_run(pointer: str) -> list[Link]:
    """Return all that can be done with a run."""
    run, place = _in_answer(pointer), "/v1/runs/{run}"
    in_path = {
        "run": f"GET {place}",
        "results": f"GET {place}/results",
        "events": f"GET {place}/events",
        "cancel": f"POST {place}/cancel",
        "resume": f"POST {place}/resume",
        "addImages": f"POST {place}/images",
        "delete": f"DELETE {place}",
        "review": "GET /v1/review",
        "answers": "GET /v1/review/answers",
        "stopping": "GET /v1/review/stopping",
    }
    links = [Link(name, target, {"run": run}) for name, target in in_path.items()]
    return [*links, Link("accept", "POST /v1/review/accept", body={"run": run})]


def _of_example(pointer: str) -> list[Link]:
    """Return all that can be done with an example."""
    content_hash, label, path = (_in_answer(f"{pointer}/{member}") for member in ("id", "label", "path"))
    seen = {"id": content_hash, "seen_label": label, "path": path}
    return [
        Link("relabel", "PATCH /v1/examples", body={"examples": [seen]}),
        Link("remove", "DELETE /v1/examples", body={"examples": [seen]}),
        Link("thumbnail", _THUMB, {"content_hash": content_hash}),
    ]


def _next_page(target: str, parameter: str, **others: str) -> Link:
    return Link("nextPage", target, {parameter: _in_answer("next"), **others})


_THUMB = "GET /v1/thumbs/{content_hash}"
_UNDO_EDIT = Link("undo", "POST /v1/edits/{edit}/undo", {"edit": _in_answer("edit")}, {})
_UNDO_ANSWER = Link("undo", "POST /v1/review/answers/{answer}/undo", {"answer": _in_answer("answer")})
_ITEM = "groups/0/items/0"  # of a review
_NEIGHBOR = Link("neighbor", _THUMB, {"content_hash": _in_answer("candidates/0/neighbors/0/id")})
_LABEL = _in_answer("labels/0/label")
_FINDING = {
    "kind": _in_answer("findings/0/kind"),
    "examples": [{"id": _in_answer("findings/0/examples/0/id"), "label": _in_answer("findings/0/examples/0/label")}],
}
LINKS: Mapping[tuple[str, int], list[Link]] = {
    ("POST /v1/classify", 200): [_NEIGHBOR],
    ("POST /v1/examples", 201): [_UNDO_EDIT, *_of_example("added/0")],
    ("PATCH /v1/examples", 200): [_UNDO_EDIT],
    ("DELETE /v1/examples", 200): [_UNDO_EDIT],
    ("POST /v1/labels/rename", 200): [_UNDO_EDIT],
    ("POST /v1/labels/merge", 200): [_UNDO_EDIT],
    ("POST /v1/audit/dismissals", 200): [_UNDO_EDIT],
    ("POST /v1/edits/{edit}/undo", 200): [_UNDO_EDIT],
    ("GET /v1/examples", 200): [*_of_example("examples/0"), _next_page("GET /v1/examples", "cursor")],
    ("GET /v1/edits", 200): [
        Link("undo", "POST /v1/edits/{edit}/undo", {"edit": _in_answer("edits/0/id")}, {}),
        _next_page("GET /v1/edits", "before"),
    ],
    ("GET /v1/labels", 200): [
        Link("examples", "GET /v1/examples", {"label": _LABEL}),
        Link("rename", "POST /v1/labels/rename", body={"label": _LABEL}),
        Link("merge", "POST /v1/labels/merge", body={"label": _LABEL, "new": _in_answer("labels/1/label")}),
        Link("sample", _THUMB, {"content_hash": _in_answer("labels/0/samples/0")}),
    ],
    ("GET /v1/audit", 200): [
        Link("dismiss", "POST /v1/audit/dismissals", body={"findings": [_FINDING]}),
        *_of_example("findings/0/examples/0"),
        _next_page("GET /v1/audit", "cursor", kind="$request.query.kind"),
    ],
    ("POST /v1/audit", 202): [Link("findings", "GET /v1/audit")],
    ("POST /v1/calibration", 202): [Link("job", "GET /v1/calibration")],
    ("GET /v1/map/ids", 200): [Link("thumbnail", _THUMB, {"content_hash": _in_answer("ids/0")})],
    ("GET /v1/runs", 200): [*_of_run("runs/0/id"), _next_page("GET /v1/runs", "before")],
    ("POST /v1/runs", 202): _of_run("id"),
    ("POST /v1/runs/{run}/images", 201): [
        Link("results", "GET /v1/runs/{run}/results", {"run": _in_answer("run")}),
        Link("review", "GET /v1/review", {"run": _in_answer("run")}),
        Link("decide", "POST /v1/review/decisions", body={"items": _in_answer("items")}),
    ],
    ("GET /v1/review", 200): [
        Link("decide", "POST /v1/review/decisions", body={"items": [_in_answer(f"{_ITEM}/id")]}),
        Link(
            "thumbnail",
            _THUMB,
            {
                "content_hash": _in_answer(f"{_ITEM}/content_hash"),
                "item": _in_answer(f"{_ITEM}/id"),
            },
        ),
        _next_page("GET /v1/review", "cursor", run=_in_answer("run/id")),
    ],
    ("POST /v1/review/decisions", 200): [
        _UNDO_ANSWER,
        Link("undoEdit", _UNDO_EDIT.target, _UNDO_EDIT.parameters, _UNDO_EDIT.body),
    ],
    ("POST /v1/review/accept", 200): [_UNDO_ANSWER],
    ("POST /v1/review/answers/{answer}/undo", 200): [_UNDO_ANSWER],
    ("GET /v1/review/answers", 200): [
        Link("undo", _UNDO_ANSWER.target, {"answer": _in_answer("answers/0/id")}),
        _next_page("GET /v1/review/answers", "before", run="$request.query.run"),
    ],
}


def add_links(paths: Mapping[str, Any]) -> None:
    """Add the links to the answers of a description.

    Args:
        paths: of the description.

    Raises:
        KeyError: a link starts or ends at an operation or a status that is not described.
    """
    operations = dict(_operations(paths))
    for (source, status), links in LINKS.items():
        described = {link.name: link.described(operations[link.target]["operationId"]) for link in links}
        operations[source]["responses"][str(status)]["links"] = described


def _operations(paths: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, of_path in paths.items():
        for method, operation in of_path.items():
            yield f"{method.upper()} {path}", operation
