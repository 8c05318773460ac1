"""Results as lines of JSON that are read back as they were, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from lmm_classifier.core.datatypes import Candidate, Classification, Decision, Example, Neighbor
from lmm_classifier.core.errors import OutputError


def to_lines(results: Sequence[Classification]) -> bytes:
    """Return results as JSON, one a line."""
    return "".join(f"{json.dumps(_values(result), separators=(',', ':'))}\n" for result in results).encode("ascii")


def from_lines(data: bytes, source: str) -> list[Classification]:
    """Undo `to_lines`; raise OutputError, which names the source, where the bytes are damaged.

    Example:
        >>> from lmm_classifier.core.datatypes import Classification, Decision
        >>> from lmm_classifier.distributed.answering.stored_answers import from_lines, to_lines
        >>> result = Classification("tulip", 1 / 3, False, Decision("accept", "confident"), ())
        >>> from_lines(to_lines([result]), "answers") == [result]
        True
    """
    try:
        return [_result(json.loads(line)) for line in data.decode("ascii").splitlines()]
    except (ValueError, TypeError, KeyError) as error:
        raise OutputError(f"{source} is damaged: {error}. Delete it and run again.") from None


def _values(result: Classification) -> dict[str, Any]:
    vector = None if result.vector is None else result.vector.tolist()
    return {**asdict(replace(result, vector=None)), "vector": vector}


def _result(values: Mapping[str, Any]) -> Classification:
    vector, names = values["vector"], values["prediction_set"]
    changed = {
        "decision": Decision(**values["decision"]),
        "candidates": tuple(map(_candidate, values["candidates"])),
        "prediction_set": None if names is None else tuple(names),
        "encoders": tuple(values["encoders"]),
        "adaptations": tuple(values["adaptations"]),
        "label_path": None if values["label_path"] is None else tuple(values["label_path"]),
        "vector": None if vector is None else np.array(vector, np.float32),
    }
    return Classification(**{**values, **changed})


def _candidate(values: Mapping[str, Any]) -> Candidate:
    near = (Neighbor(Example(**one["example"]), one["similarity"]) for one in values["neighbors"])
    return Candidate(**{**values, "neighbors": tuple(near)})
