"""An opened index whose decisions can be fitted to new images, without a label of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.image_inputs import check_paths
from lmm_classifier.data.places import Place
from lmm_classifier.pipeline.adapting.estimated_flow import with_estimated_priors
from lmm_classifier.pipeline.adapting.learned_flow import with_learned_metric
from lmm_classifier.pipeline.adapting.new_images import NewImages
from lmm_classifier.pipeline.adapting.reports import LearningReport, PriorReport
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.pipeline.following.opened_index import OpenedIndex

Report = TypeVar("Report")


class AdaptableIndex(OpenedIndex):
    """What `HybridClassifier` learns of new images: their metric and their label priors. Nothing is stored."""

    def learn_from(self, paths: Iterable[Place | str]) -> LearningReport:
        """Let unlabeled images help to fit the metric. This is an experiment.

        It may help where there are few examples per label. The examples stay the only evidence, and nothing is stored.
        A guard decides for each encoder whether the images are used: the cross-fitted accuracy of the examples must be
        at least 50%, and there must be fewer than 30 examples per label. No guarantee of precision holds afterwards,
        and a pickled copy of the classifier is not adapted.

        Args:
            paths: image files, or other places of a dataset; of more than 5,000 a sample is used.

        Returns:
            Whether they are used, and accuracy and calibration error in virtual splits of the dataset.

        Example:
            >>> from pathlib import Path
            >>> from lmm_classifier import HybridClassifier, PipelineConfig
            >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
            ...     report = classifier.learn_from(sorted(Path("new").glob("*.png")))
            >>> report.is_used, report.text.partition(";")[0]
            (False, 'learned metric (experiment): not used')
        """
        return self._adapt(with_learned_metric, paths)

    def estimate_priors(self, paths: Iterable[Place | str]) -> PriorReport:
        """Estimate how frequent each label is among new images, and classify by these priors from now on.

        They are used only where the images are explained better than held-out examples ever are (the gate). Images
        that are unknown do not count. About half of the images of new labels look familiar, and those do, so remove
        them where they are many. Nothing is stored.

        Args:
            paths: image files, or other places of a dataset; of more than 5,000 a sample is used.

        Example:
            >>> from pathlib import Path
            >>> from lmm_classifier import HybridClassifier, PipelineConfig
            >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
            ...     report = classifier.estimate_priors(sorted(Path("new").glob("*.png")))
            >>> report.is_used in (True, False), report.images > 0
            (True, True)
        """
        return self._adapt(with_estimated_priors, paths)

    def _adapt(
        self, adapt: Callable[[Flow, Sequence[Encoder], NewImages], tuple[Flow, Report]], paths: Iterable[Place | str]
    ) -> Report:
        """Replace the flow by one that is adapted to new images, and return the report on it."""
        self._check_open()
        images = NewImages.encode(list(check_paths(paths)), lambda: self.encoders, self.config)
        reports = list[Report]()

        def adapted(flow: Flow) -> Flow:
            flow, report = adapt(flow, self.encoders, images)
            reports.append(report)
            return flow

        self._current_flow.adapt(adapted)
        return reports[0]
