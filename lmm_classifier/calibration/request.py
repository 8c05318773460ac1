"""The request behind a calibration: what was asked for, remembered with the index and merged with the next one."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import CalibrationError, LmmClassifierError
from lmm_classifier.data.readers.dataset_spec import DatasetSpec

DEFAULT_CONFIDENCE_LEVEL = 0.9
DEFAULT_KEEP_KNOWN = 0.95

_RATES = ("target_precision", "confidence_level", "keep_known")
_DATASETS = ("holdout", "target_images")


@dataclass(frozen=True)
class CalibrationRequest:
    """What a calibration is asked for.

    A field that is None was not mentioned. It stays as the former calibration of the index had it, and has its default
    where there was none.

    Example:
        >>> from lmm_classifier import CalibrationRequest
        >>> request = CalibrationRequest(keep_known=0.9).completed(CalibrationRequest(target_precision=0.95))
        >>> request.target_precision, request.keep_known, request.confidence_level
        (0.95, 0.9, 0.9)
    """

    target_precision: float | None = None
    """Fraction, 0 to 1, of accepted answers that shall be correct. By default no guarantee is asked for."""
    confidence_level: float | None = None
    """Probability, 0 to 1, that the guarantee holds. The default is 0.9."""
    keep_known: float | None = None
    """True-positive rate, 0 to 1, of images of known labels. The default is 0.95."""
    holdout: DatasetSpec | Path | str | None = None
    """Labeled dataset, a folder or any other, that takes the place of leave-one-out; stored as a `DatasetSpec`."""
    group_by: str | None = None
    """Examples that are held out together: `folder`, or a regular expression on the path."""
    target_images: DatasetSpec | Path | str | None = None
    """Unlabeled images from production, in a folder or any other dataset, to find out about a shift."""
    max_calls: int | None = None
    """Measure the reranker now, with at most this many questions. None keeps what was measured before."""

    def __post_init__(self) -> None:
        for name in _DATASETS:  # a caller may give a path
            if (dataset := getattr(self, name)) is not None:
                object.__setattr__(self, name, DatasetSpec.of(dataset))

    @property
    def is_for_thresholds_only(self) -> bool:
        """Return whether the request mentions rates, and nothing that examples are held out or measured by."""
        mentioned = {field.name for field in fields(self) if getattr(self, field.name) is not None}
        return bool(mentioned) and mentioned <= set(_RATES)

    def completed(self, former: CalibrationRequest | None = None) -> CalibrationRequest:
        """Return the request with each field filled in from a former one, or by its default.

        A holdout and leave-one-out by groups or target images exclude each other: what this request mentions wins.
        `max_calls` is not filled in, because questions to a reranker cost time or money.
        """
        kept = {field.name: getattr(former, field.name, None) for field in fields(self)}
        kept["max_calls"] = None
        if self.holdout is not None:
            kept["group_by"] = kept["target_images"] = None
        elif self.group_by is not None or self.target_images is not None:
            kept["holdout"] = None
        mentioned = {name: value for name, value in vars(self).items() if value is not None}
        return CalibrationRequest(**{**_DEFAULTS, **{k: v for k, v in kept.items() if v is not None}, **mentioned})

    def check(self) -> None:
        """Raise CalibrationError for a request that contradicts itself or asks for impossible numbers."""
        for name in _RATES:
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise CalibrationError(f"{name}: expected a number between 0 and 1, such as 0.95, got {value:g}")
        if self.holdout is not None and (self.group_by is not None or self.target_images is not None):
            raise CalibrationError(
                "holdout replaces leave-one-out, so group_by and target_images cannot be used with it"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return what was asked for as plain values, ready for JSON; a dataset is its stored specification."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {name: dataset.stored() for name in _DATASETS if (dataset := values[name]) is not None}
        return {name: value for name, value in values.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """Return as plain values what was asked for and is not the default, without the reranker."""
        values = self.to_dict()
        return {name: values[name] for name in values if name != "max_calls" and values[name] != _DEFAULTS.get(name)}

    def to_json(self) -> str:
        """Return the text that is stored with the calibration."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> CalibrationRequest:
        """Rebuild from `to_json`; raise ValueError or TypeError if the text describes no request."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"expected the fields of a request, got {text[:100]!r}")
        numbers = {name: value for name, value in values.items() if name in _RATES or name == "max_calls"}
        texts = {name: value for name, value in values.items() if name not in numbers}
        if not all(type(value) in (int, float) for value in numbers.values()):
            raise ValueError(f"expected numbers, got {numbers}")
        if not all(isinstance(value, str) for value in texts.values()):
            raise ValueError(f"expected texts, got {texts}")
        try:
            datasets = {name: DatasetSpec.from_stored(texts[name]) for name in _DATASETS if name in texts}
            request = cls(**{**numbers, **texts, **datasets})
            request.check()
        except LmmClassifierError as error:
            raise ValueError(str(error)) from None
        return request


_DEFAULTS: dict[str, Any] = {"confidence_level": DEFAULT_CONFIDENCE_LEVEL, "keep_known": DEFAULT_KEEP_KNOWN}
