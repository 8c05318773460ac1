"""Probabilities of examples that are held out in turn, for programs that look for wrong labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.index.vector_index import Index


def held_out_predictions(
    indexes: Sequence[Index], config: PipelineConfig, progress: ProgressCallback | None = None
) -> HeldOutPredictions:
    """Return the predictions of all examples that can be held out, ascending by row.

    An example whose content its label holds twice cannot: its copy would predict it.

    Raises:
        CalibrationError: the index has only one label, or one example of each.
    """
    index = indexes[0]
    if len(index.label_names) < 2 or len(index) <= len(index.label_names):
        raise CalibrationError(
            f"The index holds {len(index)} examples of {len(index.label_names)} labels, so nothing can be held out. "
            "Expected two labels, and more than one example of some label."
        )
    predictions = fit_by_leave_one_out(config.retrieval, indexes, most=len(index), progress=progress)[1]
    return predictions.in_order_of_rows()


def label_probabilities(
    indexes: Sequence[Index], config: PipelineConfig, progress: ProgressCallback | None = None
) -> dict[int, float]:
    """Return the probability of the label of each example that can be held out, 0 to 1, by its row.

    A low one means that the label may be wrong. There is none where nothing can be held out.
    """
    try:
        predictions = held_out_predictions(indexes, config, progress)
    except CalibrationError:
        return {}
    probabilities = np.clip(predictions.true_label_probabilities, 0, 1)
    return dict(zip(predictions.rows.tolist(), probabilities.tolist()))
