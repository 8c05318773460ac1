"""The Quality page: how far confidence can be trusted, and what each target would cost, before it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.metrics import reliability, risk_coverage
from lmm_classifier.html.charts import (
    Chart,
    familiarity_chart,
    reliability_chart,
    risk_coverage_chart,
    unknowns_chart,
)
from lmm_classifier.server.background.calibrating import RATES, Calibrating, CalibrationView
from lmm_classifier.server.pages.environment import render
from lmm_classifier.server.problems import PROBLEMS, ProblemError, problem_of
from lmm_classifier.server.routes.calibration import (
    RATE_NAMES,
    given_targets,
    job_values,
    outlook_request,
    outlook_values,
    used_guarantee,
)
from lmm_classifier.server.state import ServerState, state_of
from lmm_classifier.server.uploads import Upload

router: APIRouter = APIRouter(include_in_schema=False)

_MAX_FORM = 10_000  # bytes
_LEVELS = (0.8, 0.9, 0.95, 0.99)  # confidence levels to choose
_NOTICES = {"stored": "The thresholds are stored. They count from the next image on.", "started": ""}


@router.get("/quality")
async def quality(request: Request) -> Response:
    """Show the calibration, and what the targets of the query would give."""
    state = state_of(request)
    given = given_targets({name: value for name, value in request.query_params.items() if value})
    return await _page(request, state, given, notice=_NOTICES.get(request.query_params.get("notice", ""), ""))


@router.post("/quality")
async def change_quality(request: Request) -> Response:
    """Store thresholds, or calibrate again, as a form asks; then show the page."""
    state = state_of(request)
    form = await _form(request, state)
    given, targets = CalibrationRequest(), {name: value for name, value in form.items() if name in RATE_NAMES}
    try:
        given = given_targets(targets)
        if form.get("action") == "calibrate":
            state.calibrating.start(given)
            return _see_other({"notice": "started"})
        await state.calibrating.store(given)
    except (CalibrationError, ProblemError) as error:
        problem = problem_of(error)
        return await _page(request, state, given, PROBLEMS[problem.slug].status, refused=problem.detail)
    return _see_other({"notice": "stored", **targets})


def sentence(outlook: Mapping[str, Any]) -> str:
    """Say in words what an outlook means; `quality.js` writes the same. The rounded parts make 100% together."""
    if outlook["refusal"] is not None:
        return str(outlook["refusal"])
    accepted, coarse, unknown = (whole(outlook[name]) for name in ("accepted", "coarse", "unknown"))
    wrong, level = whole(1 - outlook["target_precision"]), whole(outlook["confidence_level"])
    coarser = f" {coarse}% more by a coarse label," if outlook["levels"] else ""
    shares = f"accepts {accepted}%,{coarser} asks {max(100 - accepted - coarse - unknown, 0)}%, unknown {unknown}%"
    return f"{shares}; at most {wrong}% wrong with a confidence of {level}%"


def whole(fraction: float) -> int:
    """Return percent as a whole number; halves are rounded up, as JavaScript does."""
    return int(np.floor(100 * fraction + 0.5))


def tenths(fraction: float) -> str:
    """Return percent with one decimal; halves are rounded up, as in `whole`."""
    return f"{np.floor(1000 * fraction + 0.5) / 10:.1f}%"


async def _page(
    request: Request, state: ServerState, given: CalibrationRequest, status: int = 200, **values: Any
) -> Response:
    calibrating = state.calibrating
    texts = {"notice": "", "refused": "", **values}

    def page() -> Response:
        return render(request, "quality.html", status, **_values(calibrating, given), **texts)

    return await asyncio.to_thread(page)


def _values(calibrating: Calibrating, given: CalibrationRequest) -> dict[str, Any]:
    view = calibrating.view()
    targets = _on_sliders(outlook_request(view, given))
    level = targets.to_dict()["confidence_level"]
    shown, used = outlook_values(calibrating, view, targets), used_guarantee(view)
    return {
        "state": view.state,
        "date": view.calibration.date,
        "notes": view.notes,
        "warning": view.calibration.warning,
        "examples": len(view.calibration.held_out),
        "accuracy": whole(view.calibration.held_out.accuracy),
        "thresholds": view.thresholds.to_dict(),
        "is_set_by_hand": view.thresholds.confidence.source == "configuration",
        "used": used and {**used, "percent": whole(used["target_precision"])},
        "targets": targets.to_dict(),
        "levels": sorted({*_LEVELS, level}),
        "rates": {"least": RATES[0], "most": RATES[-1]},
        "outlook": shown,
        "is_refused": shown["refusal"] is not None,
        "some_level": _some_level(shown["levels"]),
        "sentence": sentence(shown),
        "has_unknowns": view.calibration.tradeoff is not None,
        "drawn": _charts(view),
        "job": job_values(calibrating.job),
        "whole": whole,
        "tenths": tenths,
    }


def _some_level(levels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all levels answer together, and how often that is right; as `quality.js` adds it up."""
    answered = sum(level["answered"] for level in levels)
    right = sum(level["answered"] * (level["right"] or 0.0) for level in levels)
    return {"answered": answered, "right": right / answered if answered else None}


def _on_sliders(targets: CalibrationRequest) -> CalibrationRequest:
    """Return the nearest targets that the sliders have."""
    return replace(
        targets, target_precision=_nearest(targets.target_precision), keep_known=_nearest(targets.keep_known)
    )


def _nearest(value: float | None) -> float:
    return min(RATES, key=lambda rate: abs(rate - (value or 0)))


def _charts(view: CalibrationView) -> list[Chart]:
    calibration: Calibration = view.calibration
    results, thresholds = calibration.held_out, view.thresholds
    threshold = thresholds.novelty.value if thresholds.statistic == "familiarity" else None
    charts = [
        reliability_chart(reliability(results.confidence, results.correct)),
        risk_coverage_chart(*risk_coverage(results.confidence, results.correct)),
        familiarity_chart(results.familiarity, np.empty(0), threshold),
    ]
    if (tradeoff := calibration.tradeoff) is not None:
        charts.append(unknowns_chart(tradeoff.accepted, tradeoff.auroc))
    return charts


def _see_other(query: Mapping[str, str]) -> Response:
    return RedirectResponse(f"/quality?{urlencode(query)}", 303)


async def _form(request: Request, state: ServerState) -> dict[str, str]:
    """Return the fields of a form; raise ProblemError where the body is none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise ProblemError("unsupported-media-type", f"Expected a form, got {kind!r}.", {"Connection": "close"})
    upload = Upload(request, state.held, _MAX_FORM)
    async with upload.opened():
        data = await upload.whole()
        try:
            return dict(parse_qsl(data.decode("ascii"), strict_parsing=True, max_num_fields=20)) if data else {}
        except ValueError:
            raise ProblemError("malformed-request", "The form cannot be read.") from None
