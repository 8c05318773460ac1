"""What a calibration reports: the figures of the held-out examples, and the guarantee behind the threshold."""

from __future__ import annotations

from dataclasses import dataclass

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.guarantees.outlook import Outlook
from lmm_classifier.calibration.guarantees.risk_control import NoGuarantee, RiskGuarantee
from lmm_classifier.calibration.hierarchy.level_guarantees import LevelGuarantees
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.request import DEFAULT_KEEP_KNOWN
from lmm_classifier.calibration.simulated_unknowns import OpenSetTradeoff
from lmm_classifier.core.metrics import reliability
from lmm_classifier.html.charts import reliability_chart, unknowns_chart
from lmm_classifier.html.fragment import fragment
from lmm_classifier.html.page import Section


@dataclass(frozen=True, repr=False)
class CalibrationReport:
    """A calibration that was stored, how it was made, and the guarantee behind its threshold.

    Example:
        >>> from lmm_classifier import PipelineConfig, calibrate_index
        >>> report = calibrate_index("index", PipelineConfig.offline())
        >>> 0 <= report.accuracy <= 1, report.guarantee is None
        (True, True)
    """

    calibration: Calibration
    predictions: HeldOutPredictions | None  # None: only thresholds were set, from held-out results of an earlier fit
    method: str  # how examples were held out, in words
    notes: tuple[str, ...]  # what a user should know
    levels: LevelGuarantees | None  # None: no target precision was asked for
    sgr_guarantee: RiskGuarantee | NoGuarantee | None  # what selection with guaranteed risk would give instead

    @property
    def guarantee(self) -> RiskGuarantee | None:
        """Return the guarantee of labels; None where no precision was asked for, or only coarse labels have one."""
        return self.levels.of_labels if self.levels else None

    @property
    def warning(self) -> str:
        """Return why the figures are too optimistic; empty where they are not."""
        return self.calibration.warning

    @property
    def tradeoff(self) -> OpenSetTradeoff | None:
        """Return how many unknown images are accepted; None where the index is small, or its transform was fitted."""
        return self.calibration.tradeoff

    @property
    def accuracy(self) -> float:
        """Return the fraction of held-out examples whose most likely label is the true one, 0 to 1."""
        return self.calibration.held_out.accuracy

    @property
    def outlook(self) -> Outlook | None:
        """Return what becomes of images of known labels; None where no target precision was asked for."""
        return None if self.guarantee is None else self._outlook_by(self.guarantee)

    @property
    def sgr_coverage(self) -> float | None:
        """Return the fraction (0 to 1) that `sgr_guarantee` would accept, as in `outlook`; None where it has none."""
        return None if self.sgr_guarantee is None else self._outlook_by(self.sgr_guarantee).accepted

    def _outlook_by(self, guarantee: RiskGuarantee | NoGuarantee) -> Outlook:
        keep = self.calibration.keep_known or DEFAULT_KEEP_KNOWN
        return Outlook.of_each(self.calibration, [guarantee], [keep])[0][0]

    def __repr__(self) -> str:
        examples, guarantee = len(self.calibration.held_out), self.guarantee
        threshold = "no guarantee" if guarantee is None else f"confidence threshold {guarantee.threshold:.4f}"
        return f"CalibrationReport({examples} held-out examples, accuracy {100 * self.accuracy:.1f}%, {threshold})"

    def _repr_html_(self) -> str:
        """Return figures, guarantee and charts, for a notebook."""
        held_out, calibration = self.calibration.held_out, self.calibration
        keep = calibration.keep_known or DEFAULT_KEEP_KNOWN
        figures = [
            ("accuracy", f"{100 * self.accuracy:.1f}%"),
            ("mean confidence", f"{100 * held_out.confidence.mean():.1f}%"),
            ("examples", f"{len(held_out.confidence)}, {self.method}"),
            (f"familiarity threshold, accepts {100 * keep:g}%", f"{calibration.familiarity_threshold(keep):.2f}"),
            *(_guarantee_figures(self.guarantee, self.outlook) if self.guarantee and self.outlook else ()),
            *(_level_figures(self.levels) if self.levels else ()),
        ]
        charts = [reliability_chart(reliability(held_out.confidence, held_out.correct))]
        if self.tradeoff is not None:
            charts.append(unknowns_chart(self.tradeoff.accepted, self.tradeoff.auroc))
        warning = [f"Not certified: {self.warning}"] if self.warning else []
        return fragment("Calibration", figures, [Section("charts", "", charts=charts)], [*warning, *self.notes])


def _guarantee_figures(guarantee: RiskGuarantee, outlook: Outlook) -> list[tuple[str, str]]:
    certain = f"with probability {1 - guarantee.delta:.3g}"
    return [
        ("confidence threshold", f"{guarantee.threshold:.4f}"),
        (f"wrong among accepted answers, {certain}", f"at most {100 * guarantee.risk:g}%"),
        ("expected coverage", f"{100 * (outlook.accepted or 0):.1f}%"),
        ("called unknown", f"{100 * outlook.unknown:.1f}%"),
    ]


def _level_figures(levels: LevelGuarantees) -> list[tuple[str, str]]:
    """Return what each level of coarse labels answers; nothing without a hierarchy."""
    lines = list[tuple[str, str]]()
    for number, found in enumerate(levels.coarse.values(), start=1):
        threshold, answered = "none", "nothing"
        if isinstance(found, RiskGuarantee):
            threshold = f"{found.threshold:.4f}"
            answered = f"{100 * levels.answered[number]:.1f}%, {100 * levels.wrong[number]:.1f}% of these wrong"
        lines.append((f"threshold of coarse labels, level {number}", threshold))
        lines.append((f"answered at level {number}", answered))
    return lines
