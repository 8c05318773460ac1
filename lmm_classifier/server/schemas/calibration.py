"""The shapes of calibrations, as JSON Schema."""

from __future__ import annotations

from typing import Any

from lmm_classifier.server.schemas.parts import (
    COUNT,
    NUMBER,
    TEXT,
    YES,
    list_of,
    object_of,
    or_null,
)

_RATE = {"type": "number", "minimum": 0, "maximum": 1}
_RATES = list_of(_RATE)
_LEVEL = object_of({"level": COUNT, "threshold": or_null(_RATE), "answered": _RATE, "right": or_null(_RATE)})
_OUTLOOK = object_of(
    {
        "target_precision": _RATE,
        "confidence_level": _RATE,
        "keep_known": _RATE,
        "accepted": {**or_null(_RATE), "description": "Fraction of images of known labels that get a label at once"},
        "coarse": {**or_null(_RATE), "description": "Fraction that gets a coarse label of the hierarchy"},
        "ambiguous": {**or_null(_RATE), "description": "Fraction whose labels compete at all levels"},
        "unknown": {**_RATE, "description": "Fraction that is called unknown"},
        "levels": {
            **list_of(_LEVEL),
            "description": "What each level of the hierarchy answers, labels first; empty without a hierarchy",
        },
        "confidence_threshold": or_null(_RATE),
        "familiarity_threshold": or_null(NUMBER),
        "refusal": {**or_null(TEXT), "description": "Why the precision cannot be guaranteed"},
        "examples_needed": or_null(COUNT),
    }
)
_CHOICES = object_of(
    {
        "confidence_level": _RATE,
        "target_precision": _RATES,
        "keep_known": _RATES,
        "refusals": {**list_of(or_null(TEXT)), "description": "Of each target precision"},
        "unknown": {**_RATES, "description": "Fraction called unknown, of each `keep_known`"},
        "accepted": {
            **list_of(list_of(or_null(_RATE))),
            "description": "Fraction accepted, of each target precision and each `keep_known`",
        },
        "ambiguous": {
            **list_of(list_of(or_null(_RATE))),
            "description": "Fraction whose labels compete at all levels, of each target precision and `keep_known`",
        },
        "coarse": {
            **list_of(list_of(or_null(_RATE))),
            "description": "Fraction that gets a coarse label, of each target precision and each `keep_known`",
        },
        "levels": {
            **list_of(list_of(list_of(list_of(or_null(_RATE))))),
            "description": "Of each target precision, `keep_known` and level, labels first: the fraction that it "
            "answers, and the fraction of these that is right",
        },
        "thresholds": {
            **list_of(list_of(or_null(_RATE))),
            "description": "Probability from which each level answers, of each target precision",
        },
    }
)
_JOB = object_of(
    {
        "id": COUNT,
        "state": {"enum": ["running", "done", "failed", "canceled"]},
        "started": {"type": "string", "format": "date-time"},
        "stage": or_null(TEXT),
        "done": or_null(COUNT),
        "total": or_null(COUNT),
        "error": or_null(TEXT),
    }
)
_GUARANTEE = object_of(
    {
        "target_precision": _RATE,
        "confidence_level": _RATE,
        "confidence_threshold": _RATE,
        "coverage": _RATE,
        "wrong": {**_RATE, "description": "Fraction of errors among the accepted held-out examples"},
        "is_certified": YES,
    }
)
_CURVES = object_of(
    {
        "reliability": list_of(object_of({"confidence": _RATE, "accuracy": _RATE, "count": COUNT})),
        "risk_coverage": object_of({"coverage": _RATES, "risk": _RATES}),
        "familiarity": object_of({"edges": list_of(NUMBER), "known": list_of(COUNT)}),
        "unknowns": or_null(object_of({"auroc": _RATE, "keep_known": _RATES, "unknown_accepted": _RATES})),
    }
)
_CALIBRATION = object_of(
    {
        "state": {"enum": ["current", "stale", "missing"]},
        "notes": list_of(TEXT),
        "date": or_null(TEXT),
        "request": {"type": "object", "additionalProperties": _RATE},
        "examples": {**COUNT, "description": "Examples that were held out"},
        "accuracy": _RATE,
        "warning": {**or_null(TEXT), "description": "Why all figures are too optimistic"},
        "thresholds": {"type": "object"},
        "guarantee": or_null(_GUARANTEE),
        "curves": _CURVES,
        "outlook": _OUTLOOK,
        "choices": or_null(_CHOICES),
        "job": or_null(_JOB),
        "index_version": COUNT,
    }
)
CALIBRATION_SCHEMAS: dict[str, Any] = {
    "Calibration": _CALIBRATION,
    "CalibrationStarted": object_of({"job": _JOB}),
}
