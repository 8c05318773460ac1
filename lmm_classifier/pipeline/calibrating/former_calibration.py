"""What a new calibration takes over from the former one: the request, and what was measured of the reranker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lmm_classifier.calibration.loading import OTHER_RULE, Loaded, Missing, Stale, load_calibration, stored_request
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.rerank.benefit import RerankerBenefit


@dataclass(frozen=True)
class RerankerMeasurement:
    """The benefit of a reranker, the day on which it was measured, and how many questions were allowed."""

    benefit: RerankerBenefit | None = None
    date: str = ""
    max_calls: int | None = None


@dataclass(frozen=True)
class FormerCalibration:
    """The request of the former calibration (None: there is none), its measurement of the reranker, and its state."""

    request: CalibrationRequest | None = None
    reranking: RerankerMeasurement = RerankerMeasurement()
    state: Loaded | Stale | Missing = field(default_factory=Missing)

    @classmethod
    def of(cls, index: Index, config: PipelineConfig) -> FormerCalibration:
        """Read the calibration that is stored with an index, as far as it still holds."""
        state = load_calibration(
            index.contents, make_rule(config.retrieval, index.gallery.label_ids, index.gallery.labels)
        )
        request, reranking = stored_request(index.contents), RerankerMeasurement()
        if isinstance(state, Loaded) and state.calibration.reranker_benefit is not None:
            calibration = state.calibration
            reranking = RerankerMeasurement(
                calibration.reranker_benefit, calibration.reranker_date, request.max_calls if request else None
            )
        return cls(request, reranking, state)

    def merged(self, request: CalibrationRequest) -> CalibrationRequest:
        """Return the request, completed by the former one.

        Raises CalibrationError if a folder that was asked for before does not exist any more.
        """
        completed = request.completed(self.request)
        for name in ("holdout", "target_images"):
            folder: Path | None = getattr(completed, name)
            if folder is not None and getattr(request, name) is None and not folder.is_dir():
                raise CalibrationError(
                    f"The former calibration used {name} {folder}, but this folder does not exist. Put it back, name "
                    "another one, or reset the request."
                )
        return completed

    def notes(self, request: CalibrationRequest, asked: CalibrationRequest) -> Iterator[str]:
        """Say what of the former calibration is used again, and what does not hold.

        Args:
            request: the completed request.
            asked: what was mentioned now, which is not kept but asked for again.
        """
        if isinstance(self.state, Stale) and self.state.remedy == OTHER_RULE:
            yield f"the former calibration is replaced. {self.state.reason}"
        if self.request is not None:
            now, mentioned = request.to_dict(), asked.to_dict()
            kept = {name: value for name, value in self.request.describe().items() if now.get(name) == value}
            kept = {name: value for name, value in kept.items() if name not in mentioned}
            dropped = self.request.holdout is not None and request.holdout is None
            dropped_groups = request.holdout is not None and (self.request.group_by or self.request.target_images)
            if kept:
                yield "as asked for before: " + ", ".join(f"{name} {value}" for name, value in kept.items())
            if dropped:
                yield f"the holdout {self.request.holdout} of the former calibration is replaced"
            if dropped_groups:
                yield "group_by and target_images of the former calibration are replaced by the holdout"
        if request.max_calls is not None:
            return
        if self.reranking.benefit is not None:
            yield f"reranking: kept as measured on {self.reranking.date}; measure it again if the images changed much"
        elif self.request is not None and self.request.max_calls is not None and isinstance(self.state, Stale):
            yield f"reranking: the former measurement does not hold any more, so measure it again. {self.state.reason}"
