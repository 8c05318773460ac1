"""The calibration: its curves and thresholds, what others would give, and how to store them or calibrate again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from lmm_classifier.calibration.guarantees.outlook import guarantee_of, refusal
from lmm_classifier.calibration.guarantees.risk_control import NoGuarantee
from lmm_classifier.calibration.hierarchy.level_guarantees import guarantee_levels
from lmm_classifier.calibration.hierarchy.level_outlook import TargetOutlook
from lmm_classifier.calibration.request import DEFAULT_CONFIDENCE_LEVEL, DEFAULT_KEEP_KNOWN, CalibrationRequest
from lmm_classifier.core.metrics import reliability, risk_coverage
from lmm_classifier.server.background.calibrating import RATES, Calibrating, CalibrationJob, CalibrationView
from lmm_classifier.server.openapi import NOT_MODIFIED, described, query, reference
from lmm_classifier.server.problems import ProblemError, over_http
from lmm_classifier.server.results import AsciiJson, tagged
from lmm_classifier.server.routes.bodies import LEAST_RATE, CalibrationTargets, read_body, switch
from lmm_classifier.server.state import state_of

router: APIRouter = APIRouter()

DEFAULT_TARGET = 0.95
RATE_NAMES = ("target_precision", "confidence_level", "keep_known")  # shown; folders and patterns are not
_POINTS = 200  # of the risk-coverage curve
_BINS = 40  # of familiarity
_RATE = {"type": "number", "minimum": LEAST_RATE, "exclusiveMaximum": 1}
_QUERY = [
    query("target_precision", "Fraction of accepted answers that shall be correct, for `outlook`.", _RATE),
    query("confidence_level", "Probability that this guarantee holds, for `outlook` and `choices`.", _RATE),
    query("keep_known", "Fraction of images of known labels that are not called unknown, for `outlook`.", _RATE),
    query("choices", "Whether to compute the outlook of many targets.", {"type": "boolean", "default": False}),
]


@router.get("/v1/calibration", **described("The calibration in use", "Calibration", NOT_MODIFIED, _QUERY))
async def calibration(request: Request) -> Response:
    """Describe the calibration: curves of held-out examples, thresholds with their sources, and guarantees.

    `outlook` says what the targets of the query would give; without a query, those of the stored calibration.
    """
    state = state_of(request)
    given = given_targets(request.query_params)
    choices = switch(request, "choices", False)
    return tagged(request, await asyncio.to_thread(_values, state.calibrating, given, choices))


@router.post(
    "/v1/calibration",
    **described(
        "The thresholds are stored",
        "Calibration",
        {**dict.fromkeys((409, 413, 415, 422), "Problem"), 202: "CalibrationStarted"},
        (),
        {"application/json": reference("CalibrationTargets")},
    ),
)
async def change_calibration(request: Request) -> Response:
    """Store the thresholds for targets, or calibrate again in the background.

    What is not mentioned stays as it was asked for before. With `recalibrate` the answer is 202: `job` of
    `GET /v1/calibration` says how far it is.
    """
    state = state_of(request)
    body = await read_body(request, state, CalibrationTargets)
    asked = CalibrationRequest(body.target_precision, body.confidence_level, body.keep_known)
    calibrating = state.calibrating
    if body.recalibrate:
        job = calibrating.start(asked)
        return AsciiJson({"job": job_values(job)}, 202, {"Location": "/v1/calibration"})
    await calibrating.store(asked)
    return AsciiJson(await asyncio.to_thread(_values, calibrating, CalibrationRequest(), False))


def outlook_request(view: CalibrationView, given: CalibrationRequest) -> CalibrationRequest:
    """Complete targets by those of the stored calibration, or by usual ones."""
    completed = given.completed(view.request)
    return CalibrationRequest(
        completed.target_precision or DEFAULT_TARGET,
        completed.confidence_level or DEFAULT_CONFIDENCE_LEVEL,
        completed.keep_known or DEFAULT_KEEP_KNOWN,
    )


def outlook_values(calibrating: Calibrating, view: CalibrationView, targets: CalibrationRequest) -> dict[str, Any]:
    """Return plain values of what completed targets would give."""
    values = targets.to_dict()
    precision, level, keep = (values[name] for name in RATE_NAMES)
    if precision in RATES:
        found = calibrating.guarantees(view.calibration, level)[RATES.index(precision)]
    else:
        found = guarantee_levels(view.calibration.held_out, view.calibration.hierarchy, precision, level)
    ((outlook,),) = TargetOutlook.of_each(view.calibration, [found], [keep])
    guarantee = found.labels
    refused = guarantee if isinstance(guarantee, NoGuarantee) and not outlook.is_guaranteed else None
    return {
        **values,
        "accepted": outlook.accepted,
        "coarse": outlook.coarse,
        "ambiguous": outlook.ambiguous,
        "unknown": outlook.of_labels.unknown,
        "levels": [asdict(each) for each in outlook.levels],
        "confidence_threshold": None if isinstance(guarantee, NoGuarantee) else guarantee.threshold,
        "familiarity_threshold": finite(outlook.of_labels.familiarity_threshold),
        "refusal": refusal(refused, values["target_precision"], values["confidence_level"]) if refused else None,
        "examples_needed": refused.needed if refused else None,
    }


def job_values(job: CalibrationJob | None) -> dict[str, Any] | None:
    """Return plain values of a job."""
    if job is None:
        return None
    progress = job.progress
    return {
        "id": job.number,
        "state": job.state,
        "started": job.started.isoformat(),
        "stage": progress.stage if progress else None,
        "done": progress.done if progress else None,
        "total": progress.total if progress else None,
        "error": job.error or None,
    }


def choices_values(calibrating: Calibrating, view: CalibrationView, level: float) -> dict[str, Any]:
    """Return the outlook of many targets, which sliders show at once."""
    guarantees = calibrating.guarantees(view.calibration, level)
    rows = TargetOutlook.of_each(view.calibration, guarantees, RATES)
    return {
        "confidence_level": level,
        "target_precision": RATES,
        "keep_known": RATES,
        "refusals": [
            refusal(found.labels, rate, level)
            if isinstance(found.labels, NoGuarantee) and not found.thresholds
            else None
            for rate, found in zip(RATES, guarantees, strict=True)
        ],
        "unknown": [outlook.of_labels.unknown for outlook in rows[0]],
        "accepted": [[outlook.accepted for outlook in row] for row in rows],
        "coarse": [[outlook.coarse for outlook in row] for row in rows],
        "ambiguous": [[outlook.ambiguous for outlook in row] for row in rows],
        "levels": [[[[each.answered, each.right] for each in outlook.levels] for outlook in row] for row in rows],
        "thresholds": [[each.threshold for each in row[0].levels] for row in rows],
    }


def finite(value: float) -> float | None:
    """Return a number that JSON can hold, None for another."""
    return value if np.isfinite(value) else None


def _values(calibrating: Calibrating, given: CalibrationRequest, choices: bool) -> dict[str, Any]:
    view = calibrating.view()
    results, targets = view.calibration.held_out, outlook_request(view, given)
    return {
        "state": view.state,
        "notes": [*map(over_http, view.notes)],
        "date": view.calibration.date or None,
        "request": {name: value for name, value in view.request.to_dict().items() if name in RATE_NAMES},
        "examples": len(results),
        "accuracy": results.accuracy,
        "warning": view.calibration.warning or None,
        "thresholds": view.thresholds.to_dict(),
        "guarantee": used_guarantee(view),
        "curves": _curves(view),
        "outlook": outlook_values(calibrating, view, targets),
        "choices": choices_values(calibrating, view, targets.to_dict()["confidence_level"]) if choices else None,
        "job": job_values(calibrating.job),
        "index_version": view.contents.version,
    }


def used_guarantee(view: CalibrationView) -> dict[str, Any] | None:
    """Return the guarantee behind the stored confidence threshold, None where there is none."""
    request = view.request
    if view.calibration.confidence_threshold is None or not request.target_precision:
        return None
    level = request.confidence_level or DEFAULT_CONFIDENCE_LEVEL
    of_each = view.calibration.level_of_each(level)
    guarantee = guarantee_of(view.calibration.held_out, request.target_precision, of_each)
    if isinstance(guarantee, NoGuarantee):
        return None
    return {
        "target_precision": request.target_precision,
        "confidence_level": level,
        "confidence_threshold": guarantee.threshold,
        "coverage": guarantee.coverage,
        "wrong": float(guarantee.realized),
        "is_certified": view.state == "current" and not view.calibration.not_certified,
    }


def _curves(view: CalibrationView) -> dict[str, Any]:
    results, tradeoff = view.calibration.held_out, view.calibration.tradeoff
    coverage, risk = risk_coverage(results.confidence, results.correct)
    rows = np.unique(np.linspace(0, max(len(risk) - 1, 0), min(_POINTS, len(risk))).astype(int))
    counts, edges = np.histogram(np.clip(results.familiarity, -4, 4), np.linspace(-4, 4, _BINS + 1))
    return {
        "reliability": [
            {"confidence": part.confidence, "accuracy": part.accuracy, "count": part.count}
            for part in reliability(results.confidence, results.correct)
        ],
        "risk_coverage": {"coverage": coverage[rows].tolist(), "risk": risk[rows].tolist()},
        "familiarity": {"edges": edges.tolist(), "known": counts.tolist()},
        "unknowns": {
            "auroc": tradeoff.auroc,
            "keep_known": [*tradeoff.accepted],
            "unknown_accepted": [*tradeoff.accepted.values()],
        }
        if tradeoff
        else None,
    }


def given_targets(values: Mapping[str, str]) -> CalibrationRequest:
    """Return the targets of a query or a form; raise ProblemError for one that is no such number."""
    precision, level, keep = (_rate(name, values.get(name)) for name in RATE_NAMES)
    return CalibrationRequest(precision, level, keep)


def _rate(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not LEAST_RATE <= value < 1:
        raise ProblemError(
            "malformed-request", f"{name}: expected a number between {LEAST_RATE} and 1, got {text[:40]!r}."
        )
    return value
