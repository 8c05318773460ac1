"""Arrays for cleanlab: labels, out-of-sample probabilities and features, in the order of a list of ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.csv_cells import write_row
from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.progress import ProgressCallback, Skipped
from lmm_classifier.index.vector_index import Index
from lmm_classifier.integrations.exports.held_out import held_out_predictions
from lmm_classifier.integrations.exports.new_folder import new_folder

FILES = ("labels.npy", "pred_probs.npy", "features.npy", "ids.txt", "label_names.txt", "left_out.csv")
_COPY = "the label holds the same content twice, so it cannot be held out"


def export_cleanlab(
    indexes: Sequence[Index],
    config: PipelineConfig,
    output: Path,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> list[Skipped]:
    """Write a folder of arrays of n examples, and return the examples that are left out, with the reason.

    `labels.npy` (n,) has numbers of `label_names.txt`, `pred_probs.npy` (n, labels) the probabilities of each example
    when it is held out, `features.npy` (n, dim) its vector, and `ids.txt` its id. `left_out.csv` has the others.

    Raises:
        OutputError: the folder holds other files, or an id has a line break.
        CalibrationError: nothing can be held out.
    """
    index = indexes[0]
    _require_lines([*index.contents.paths, *index.label_names])
    with new_folder(output, FILES, overwrite) as folder:
        predictions = held_out_predictions(indexes, config, progress)
        rows = predictions.rows
        np.save(folder / "labels.npy", predictions.label_ids.astype(np.int64))
        probabilities = np.exp(predictions.log_probabilities)
        np.save(folder / "pred_probs.npy", probabilities / probabilities.sum(axis=1, keepdims=True))
        np.save(folder / "features.npy", index.vectors()[rows])
        _write_lines(folder / "ids.txt", [index.contents.paths[row] for row in rows.tolist()])
        _write_lines(folder / "label_names.txt", index.label_names)
        others = np.setdiff1d(np.arange(len(index)), rows).tolist()
        left_out = [Skipped(index.contents.paths[row], _COPY, "copy") for row in others]
        with (folder / "left_out.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            write_row(file, ["path", "reason"])
            for example in left_out:
                write_row(file, [example.path, example.reason])
    return left_out


def _require_lines(texts: Sequence[str]) -> None:
    for text in texts:
        if len(text.splitlines()) > 1:
            raise OutputError(
                f"{text!r} has a line break, so it cannot be a line of ids.txt. Rename it, or use parquet."
            )


def _write_lines(path: Path, texts: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.writelines(f"{text}\n" for text in texts)
