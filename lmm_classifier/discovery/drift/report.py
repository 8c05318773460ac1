"""What a drift test says: how much evidence of a change there is, and which images have most of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from lmm_classifier.discovery.drift.martingale import ALARM

_LN_10 = math.log(10)


@dataclass(frozen=True, slots=True)
class ImageEvidence:
    """An image that was evidence of a change."""

    name: str
    familiarity: float  # in robust standard deviations
    p: float  # its rank by familiarity among what it was compared with, 0 to 1
    factor: float  # by which it multiplied the wealth, above 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"name": self.name, "familiarity": self.familiarity, "p": self.p, "factor": self.factor}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_dict`."""
        return cls(**values)


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The state of a drift test.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier import DriftTest
        >>> test = DriftTest.of(np.linspace(-2, 2, 200))
        >>> for number in range(40):
        ...     _ = test.observe(f"{number}.jpg", f"content {number}", -3.5)
        >>> report = test.report()
        >>> report.is_alarm, report.images, report.direction
        (True, 40, 'less familiar')
    """

    images: int  # that were compared
    log_wealth: float  # natural logarithm of the martingale now
    log_peak: float  # the largest that it was
    alarm_at: int | None  # number of the image at the first alarm, from 1; None: there was none
    mean_p: float  # 0.5 where nothing changed, less where images are less familiar
    shown: tuple[ImageEvidence, ...]  # the images with the most evidence, the most first

    @property
    def is_alarm(self) -> bool:
        """Return whether there ever was an alarm."""
        return self.alarm_at is not None

    @property
    def direction(self) -> str:
        """Return how the images differ from the dataset."""
        return "less familiar" if self.mean_p < 0.5 else "more familiar"

    @property
    def text(self) -> str:
        """Return one line for people."""
        now, peak = _power(self.log_wealth), _power(self.log_peak)
        values = f"evidence {now}, highest {peak}, alarm from {ALARM:g}; mean p {self.mean_p:.2f}, 0.50 is usual"
        if self.alarm_at is None:
            return f"drift: no change found in {self.images} images ({values})"
        alarm = f"alarm at image {self.alarm_at} of {self.images}"
        return f"drift: the images changed, they are {self.direction}; {alarm} ({values})"

    @property
    def lines(self) -> list[str]:
        """Return the text, and after an alarm the images that are most evidence."""
        if not self.is_alarm:
            return [self.text]
        listed = [f"  {image.name}: familiarity {image.familiarity:+.1f}, p {image.p:.3f}" for image in self.shown]
        return [self.text, "images with the most evidence:", *listed]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; the evidence as a power of ten, for it may be too large for a float."""
        return {
            "images": self.images,
            "log10_evidence": self.log_wealth / _LN_10,
            "log10_highest": self.log_peak / _LN_10,
            "log10_alarm": math.log10(ALARM),
            "is_alarm": self.is_alarm,
            "alarm_at": self.alarm_at,
            "mean_p": self.mean_p,
            "evidence": [image.to_dict() for image in self.shown],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_dict`, but for the last digit of the evidence; raise KeyError where a member is missing."""
        shown = tuple(ImageEvidence.from_dict(image) for image in values["evidence"])
        evidence, highest = (values[name] * _LN_10 for name in ("log10_evidence", "log10_highest"))
        return cls(values["images"], evidence, highest, values["alarm_at"], values["mean_p"], shown)


def _power(log: float) -> str:
    """Return the number with this natural logarithm, in few digits."""
    return f"{math.exp(log):.2g}" if abs(log) < 10 else f"1e{log / _LN_10:+.0f}"
