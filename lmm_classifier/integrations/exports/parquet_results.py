"""The results of a run as a table in Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.integrations.exports.image_access import image_bytes, reason_of
from lmm_classifier.integrations.exports.parquet import ParquetRows, image_type, parquet_rows, utf8


class ParquetResults:
    """Results that are written one by one; `problems` has the images whose bytes could not be written."""

    def __init__(self, rows: ParquetRows, with_images: bool, limits: ImageLimits) -> None:
        self._rows, self._with_images, self._limits = rows, with_images, limits
        self.problems: list[Skipped] = []

    def write(self, result: Classification, place: Place | None = None, run: str = "") -> None:
        """Write the result of an image; its probabilities and its vector where it has them."""
        neighbors = [neighbor for candidate in result.candidates for neighbor in candidate.neighbors]
        nearest = max(neighbors, key=lambda neighbor: neighbor.similarity, default=None)
        probabilities = result.probabilities
        row: dict[str, Any] = {
            "path": result.path,
            "label": result.label,
            "score": result.score,
            "is_unknown": result.is_unknown,
            "action": result.decision.action,
            "reason": result.decision.reason,
            "why": result.why,
            "used_reranker": result.used_reranker,
            "encoders": list(result.encoders),
            "level": result.level,
            "label_path": None if result.label_path is None else list(map(utf8, result.label_path)),
            "similarity": result.similarity,
            "familiarity": result.familiarity,
            "prediction_set": None if result.prediction_set is None else list(map(utf8, result.prediction_set)),
            "candidates": [{"label": utf8(label.label), "score": label.score} for label in result.candidates],
            "nearest_path": nearest.example.path if nearest else None,
            "nearest_label": nearest.example.label if nearest else None,
            "error": result.error,
            "content_hash": result.content_hash,
            "run": run or None,
            "probabilities": None
            if probabilities is None
            else [{"label": utf8(label), "probability": share} for label, share in probabilities.items()],
            "vector": None if result.vector is None else result.vector.tolist(),
        }
        if self._with_images:
            row["image"] = self._image(result, place)
        self._rows.add(row)

    def _image(self, result: Classification, place: Place | None) -> dict[str, Any] | None:
        path = result.path or ""
        if result.decision.reason == "unreadable":  # the table says so already
            return None
        try:
            data = image_bytes(place if place is not None else Path(path), result.content_hash, self._limits)
        except OSError as error:
            self.problems.append(Skipped(path, reason_of(error), "not_exported"))
            return None
        return {"bytes": data, "path": utf8(path)}


@contextmanager
def parquet_results(
    output: Path, limits: ImageLimits, with_images: bool = False, overwrite: bool = False
) -> Iterator[ParquetResults]:
    """Yield what writes results to a table, which appears when the block ends without an error.

    Args:
        output: the file.
        limits: the largest image to read.
        with_images: add the bytes of the image files.
        overwrite: replace an existing file.

    Raises:
        OutputError: the file exists and is not to be overwritten, or cannot be written.
        MissingExtraError: pyarrow is not installed.
    """
    columns = _columns() | ({"image": image_type()} if with_images else {})
    with parquet_rows(output, columns, overwrite) as rows:
        yield ParquetResults(rows, with_images, limits)


def _columns() -> dict[str, Any]:
    arrow = import_optional("pyarrow", "parquet")
    text, number, truth = arrow.string(), arrow.float64(), arrow.bool_()
    return {
        "path": text,
        "label": text,
        "score": number,
        "is_unknown": truth,
        "action": text,
        "reason": text,
        "why": text,
        "used_reranker": truth,
        "encoders": arrow.list_(text),
        "level": arrow.int64(),
        "label_path": arrow.list_(text),
        "similarity": number,
        "familiarity": number,
        "prediction_set": arrow.list_(text),
        "candidates": arrow.list_(arrow.struct([("label", text), ("score", number)])),
        "nearest_path": text,
        "nearest_label": text,
        "error": text,
        "content_hash": text,
        "run": text,
        "probabilities": arrow.list_(arrow.struct([("label", text), ("probability", number)])),
        "vector": arrow.list_(arrow.float32()),
    }
