"""The review of runs: what comes first, answers, and undoing them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.review.reviewer import Decided
from lmm_classifier.review.revote import Revote
from lmm_classifier.server.openapi import FROM_1, described, query, reference
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.results import AsciiJson, packed
from lmm_classifier.server.reviewing.values import SHOWN_ITEMS, answer_values, group_values, item_values
from lmm_classifier.server.routes.bodies import Acceptance, Labeling, NewAnswer, read_body, switch, whole_number
from lmm_classifier.server.state import ServerState, state_of

router: APIRouter = APIRouter()

_GROUPS = 5
_MOST = 20  # groups on a page
_ANSWERS = 50  # answers on a page
_RUN = {**query("run", "The run.", FROM_1), "required": True}
_VOTE = query(
    "vote", "Wait until the open images are voted on again; else that comes as an event.", {"type": "boolean"}
)
_CHANGING = dict.fromkeys((404, 409, 413, 415, 422, 429), "Problem")


@router.get(
    "/v1/review",
    **described(
        "Groups of open items, what teaches most first",
        "Review",
        {404: "Problem", 422: "Problem"},
        [
            _RUN,
            query(
                "cursor", "The member `next` of the page before; without it, a new order is made.", {"type": "string"}
            ),
            query(
                "limit", "Groups on the page.", {"type": "integer", "minimum": 1, "maximum": _MOST, "default": _GROUPS}
            ),
        ],
    ),
)
async def review(request: Request) -> Response:
    """Return the groups that teach most. An order does not change while items are answered; those are left out."""
    state, parameters = state_of(request), request.query_params
    limit = whole_number(parameters.get("limit", str(_GROUPS)), "limit")
    if limit > _MOST:
        raise ProblemError("malformed-request", f"limit must be 1 to {_MOST}.")
    accepted = request.headers.get("accept-encoding", "")
    run, cursor = _run(request), parameters.get("cursor")

    def read() -> tuple[bytes, dict[str, str]]:
        return packed(json.dumps(_page(state, run, cursor, limit)).encode("ascii"), accepted)

    body, headers = await asyncio.to_thread(read)
    state.reviews.revotes.ask_where_old(run)
    return Response(body, media_type="application/json", headers=headers)


@router.post(
    "/v1/review/decisions",
    **described("The answer is stored", "Decided", _CHANGING, [_VOTE], {"application/json": reference("NewAnswer")}),
)
async def decide(request: Request) -> Response:
    """Take an answer about items of one run. Sent again, it changes nothing.

    A label adds the items to the index as examples, in one edit.
    """
    state, is_waiting = state_of(request), switch(request, "vote")
    body = await read_body(request, state, NewAnswer)
    reviews, decision = state.reviews, body.decision
    reviewer = reviews.reviewer
    if isinstance(decision, Labeling):
        label = decision.label
        decided = await state.editing.in_turn(lambda: reviewer.teach(body.items, label, vote=False))
        state.metrics.edits.labels("review").inc()
    else:
        decided = await state.editing.in_turn(lambda: reviewer.decide(body.items, decision))
    return AsciiJson(await _told(state, decided, "answer", is_waiting))


@router.post(
    "/v1/review/accept",
    **described("The results are accepted", "Decided", _CHANGING, [], {"application/json": reference("Acceptance")}),
)
async def accept(request: Request) -> Response:
    """Accept the results of the open items that decide themselves at a target precision, in one answer.

    Nothing is taught. Sent again, it returns the same answer; where no item could be accepted, `answer` is null.
    """
    state = state_of(request)
    body = await read_body(request, state, Acceptance)
    reviewer = state.reviews.reviewer
    decided = await state.editing.in_turn(lambda: reviewer.accept_rest(body.run, body.target))
    return AsciiJson(await _told(state, decided, "answer", is_waiting=False))


@router.get(
    "/v1/review/answers",
    **described(
        "A page of answers, the newest first",
        "Answers",
        {404: "Problem"},
        [_RUN, query("before", "The member `next` of the page before.", FROM_1)],
    ),
)
async def answers(request: Request) -> Response:
    """List the answers about a run; 50 on a page."""
    reviewer, run, given = state_of(request).reviews.reviewer, _run(request), request.query_params.get("before")
    before = None if given is None else whole_number(given, "before")
    await asyncio.to_thread(reviewer.runs.run, run)
    listed = await asyncio.to_thread(reviewer.answers.answers, run, _ANSWERS, before)
    following = listed[-1].id if len(listed) == _ANSWERS else None
    return AsciiJson({"answers": [answer_values(answer) for answer in listed], "next": following})


@router.post(
    "/v1/review/answers/{answer}/undo",
    **described("The answer is taken back", "Decided", dict.fromkeys((404, 409, 422, 429), "Problem"), [_VOTE]),
)
async def undo(request: Request, answer: str) -> Response:
    """Take an answer back, however old; its items are as they were before. Sent again, it changes nothing."""
    state, number, is_waiting = state_of(request), whole_number(answer, "the answer"), switch(request, "vote")
    reviewer = state.reviews.reviewer

    def undone() -> Decided:
        known = reviewer.answers.answer(number)
        return Decided(known, None, {}) if known.state == "undone" else reviewer.undo(number, vote=False)

    return AsciiJson(await _told(state, await state.editing.in_turn(undone), "undo", is_waiting))


@router.get(
    "/v1/review/stopping",
    **described(
        "Whether a person may stop",
        "Stopping",
        {404: "Problem", 422: "Problem"},
        [_RUN, query("target", "Precision to reach.", {"type": "number", "exclusiveMinimum": 0, "maximum": 1})],
    ),
)
async def stopping(request: Request) -> Response:
    """Tell how many of the undecided items decide themselves at a target precision."""
    state, given = state_of(request), request.query_params.get("target")
    try:
        target = None if given is None else float(given)
    except ValueError:
        raise ProblemError("malformed-request", f"target must be a number, got {given!r}.") from None
    advice = await asyncio.to_thread(state.reviews.reviewer.stopping, _run(request), target)
    return AsciiJson(advice.to_dict())


def _run(request: Request) -> int:
    given = request.query_params.get("run")
    if given is None:
        raise ProblemError("malformed-request", "The query names no run.")
    return whole_number(given, "run")


def _page(state: ServerState, run: int, cursor: str | None, limit: int) -> dict[str, Any]:
    reviews = state.reviews
    reviewer = reviews.reviewer
    page = reviewer.page(run, cursor, limit)
    shown = [item for group in page.groups for item in group.items[:SHOWN_ITEMS]]
    ids = state.ids
    items = {item.id: item_values(item, ids) for item in reviewer.items(shown)}
    return {
        "run": reviews.run_values(reviewer.runs.run(run)),
        "groups": [group_values(group, [items[item] for item in group.items[:SHOWN_ITEMS]]) for group in page.groups],
        "cursor": page.start,
        "next": page.cursor,
        "index_version": ids.contents.version,
    }


async def _told(state: ServerState, decided: Decided, kind: str, is_waiting: bool) -> dict[str, Any]:
    """Tell the listeners of an answer, let vote again where it changed the index, and return what it did."""
    answer, reviews, revote, is_unknown = decided.answer, state.reviews, None, False
    if answer is not None:
        reviews.tell_later(answer.run, kind, {"answer": answer_values(answer)})
        # an item that is open again was not voted on while it was decided
        is_voting = answer.kind == "label" or kind == "undo"
        if is_voting:
            asked = reviews.revotes.ask(answer.run, answer.id)
            revote = await _vote(asked) if is_waiting else None
        is_unknown = is_voting and revote is None
    values = Decided(answer, revote, decided.refused).to_dict()
    counts = dict.fromkeys(("re_voted", "newly_confident", "newly_open")) if is_unknown else {}
    return {**values, **counts, "index_version": state.ids.contents.version}


async def _vote(asked: Any) -> Revote | None:
    """Wait for a vote; None where the run was deleted meanwhile."""
    try:
        return await asyncio.shield(asyncio.wrap_future(asked))
    except ReviewError:
        return None
