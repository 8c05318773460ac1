"""What a classifier says of its adaptation to new images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

LEARNED, ESTIMATED = "experimental_learned_metric", "estimated_priors"  # as results name them
_SHOWN = 5  # labels whose priors changed most


@dataclass(frozen=True, slots=True)
class LearningReport:
    """What unlabeled images changed about the metric. It is an experiment."""

    kind: ClassVar[str] = "learned_metric"
    is_used: bool
    images: int
    unreadable: int
    refusals: Mapping[str, str]  # by the name of an encoder, why its metric stays as it was
    examples_per_label: float
    accuracy_before: Mapping[str, float]  # cross-fitted, by the name of an encoder that was measured, 0 to 1
    accuracy: float | None  # in virtual splits of the dataset, with the unlabeled images, 0 to 1
    confidence: float | None  # mean in the same splits, 0 to 1: as large as the accuracy where it is calibrated
    calibration_error: float | None  # in the same splits, 0 to 1; too high where examples are few

    @property
    def text(self) -> str:
        """Return one line for people."""
        refused = "; ".join(f"{name}: {reason}" for name, reason in self.refusals.items())
        if not self.is_used or self.accuracy is None or self.confidence is None:
            return f"learned metric (experiment): not used; {refused}"
        before = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in self.accuracy_before.items())
        measured = f"accuracy {self.accuracy:.1%} (without: {before}), mean confidence {self.confidence:.1%}"
        kept = f"; not used for {refused}" if refused else ""
        return (
            f"learned metric (experiment): {self.images} unlabeled images; in virtual splits of the dataset "
            f"{measured}; no guarantee holds{kept}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        values = asdict(self)
        return {
            **values,
            "experiment": True,
            "refusals": dict(self.refusals),
            "accuracy_before": dict(self.accuracy_before),
        }


@dataclass(frozen=True, slots=True)
class PriorReport:
    """How frequent the labels are among new images, and what that changes."""

    kind: ClassVar[str] = "label_priors"
    is_used: bool
    images: int  # that were counted
    unreadable: int
    unknown: int  # images that are not familiar enough to have one of the labels; they do not count
    gain: float  # nats
    usual_gain: float  # nats; infinite without held-out examples
    shares: Mapping[str, tuple[float, float]]  # by label: among held-out examples, among the images; 0 to 1
    changed: int  # images whose best label is another one by the new priors

    @property
    def text(self) -> str:
        """Return one line for people."""
        gain = f"gain {self.gain:.1f} nats, usual up to {self.usual_gain:.1f}"
        left_out = f", {self.unknown} unknown ones left out" if self.unknown else ""
        if not self.is_used:
            return f"label priors: those of the dataset are used ({gain} for {self.images} images{left_out})"
        most = sorted(self.shares.items(), key=lambda item: -abs(item[1][1] - item[1][0]))[:_SHOWN]
        listed = ", ".join(f"{label} {former:.0%} -> {new:.0%}" for label, (former, new) in most)
        return (
            f"label priors: estimated from {self.images} images{left_out} ({gain}): {listed}; {self.changed} images "
            "have another best label; no guarantee holds"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        shares = {label: {"dataset": former, "images": new} for label, (former, new) in self.shares.items()}
        usual = self.usual_gain if self.usual_gain < float("inf") else None
        return {**asdict(self), "shares": shares, "usual_gain": usual}
