"""How many labels an audit expects to be wrong, where a known number was planted, and how many it marks rightly.

Labels are changed at random, or to the label whose mean is nearest. cleanlab's confident learning gets the same
probabilities of held-out examples. The photographs have some wrong labels of their own, which count as not planted.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy import mobilenet
from benchmarks.quality_audit import flip
from benchmarks.quality_data import LabeledVectors, index_of
from benchmarks.rows import Row, where, write_rows
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import BoolArray, IntArray
from lmm_classifier.evaluation.audit import audit_opened_index
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index

COMMAND = "python -m benchmarks.label_noise --shared SHARED"
_SETS = {"trashnet": "trashnet", "clothing": "clothing/train"}
_RATES = (0.0, 0.02, 0.05, 0.1)
_SEEDS = 3
_COVERAGE = 90.0  # goal, % of the intervals


@dataclass(frozen=True)
class Trial:
    """One dataset with planted wrong labels, and what was found."""

    planted: int
    expected: int
    low: int
    high: int
    precision: float | None  # of the labels marked as likely wrong; None where none is
    cleanlab: int  # labels that cleanlab calls wrong
    cleanlab_precision: float | None

    @property
    def held(self) -> bool:
        """Return whether the interval holds the planted number."""
        return self.low <= self.planted <= self.high


def trial(images: LabeledVectors, label_ids: IntArray, flipped: BoolArray) -> Trial:
    """Audit the images with these labels."""
    from cleanlab.filter import find_label_issues

    names = np.unique(images.labels)
    index = index_of(images, names[label_ids])
    audit = audit_opened_index([index], PipelineConfig(), near_duplicate=1.0)
    row_of = {example.path: row for row, example in enumerate(index.examples)}
    likely = [bool(flipped[row_of[issue.path]]) for issue in audit.likely_issues]
    predictions = fit_by_leave_one_out(PipelineConfig().retrieval, [index])[1]
    probabilities = np.exp(predictions.log_probabilities[np.argsort(predictions.rows)])
    called = find_label_issues(label_ids, probabilities / probabilities.sum(axis=1, keepdims=True), n_jobs=1)
    wrong = audit.wrong_labels
    return Trial(
        int(flipped.sum()),
        wrong.expected,
        wrong.low,
        wrong.high,
        float(np.mean(likely)) if likely else None,
        int(called.sum()),
        float(flipped[called].mean()) if called.any() else None,
    )


def rows_of_set(title: str, images: LabeledVectors, place: str, trials: list[Trial]) -> Iterator[Row]:
    """Yield a row for each rate and kind of wrong labels; add what was tried to `trials`."""
    for rate in _RATES:
        for kind, words in (("uniform", "at random"), ("nearest", "to the nearest label")) if rate else (("", ""),):
            names = np.unique(images.labels)
            none = np.searchsorted(names, images.labels), np.zeros(len(images.labels), bool)
            seeds = range(_SEEDS if rate else 1)
            found = [trial(images, *(flip(images, kind, seed, rate) if rate else none)) for seed in seeds]
            trials += found if rate else []
            expected, low, high = np.mean([[one.expected, one.low, one.high] for one in found], axis=0)
            planted = f"{found[0].planted} planted {words}" if rate else "none planted"
            against = (
                f"{planted}; interval {low:.0f} to {high:.0f}, holds it {sum(one.held for one in found)} of "
                f"{len(found)} times; marked likely: {_precision([one.precision for one in found])} planted; cleanlab "
                f"calls {np.mean([one.cleanlab for one in found]):.0f} wrong, "
                f"{_precision([one.cleanlab_precision for one in found])} planted"
            )
            name = f"{title}, {100 * rate:.0f}% {words}".rstrip()
            yield Row(
                f"wrong labels expected, {name}", round(float(expected), 1), "", None, "lower", against, place, COMMAND
            )


def _precision(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * np.mean(known):.0f}%" if known else "none"


def _encoded(source: Path, config: PipelineConfig, output: Path) -> LabeledVectors:
    build_index_from_directory(source, output, config=config)
    index = Index.open(output)
    return LabeledVectors(index.gallery.embeddings, np.array([example.label for example in index.examples]))


def main() -> None:
    """Measure both sets with both encoders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/ and models/")
    shared = parser.parse_args().shared
    place = where("onnxruntime", "cleanlab")
    rows, trials = list[Row](), list[Trial]()
    for name, folder in _SETS.items():
        for encoder in ("MobileNetV2", "descriptor"):
            with tempfile.TemporaryDirectory() as temporary:
                work = Path(temporary)
                config = mobilenet(shared / "models", work) if encoder != "descriptor" else PipelineConfig.offline()
                images = _encoded(shared / "data" / folder, config, work / "index.npz")
            for row in rows_of_set(f"{name}, {encoder}", images, place, trials):
                print(f"{row.name}: {row.value:g}; {row.against}", flush=True)
                rows.append(row)
    held = 100 * float(np.mean([one.held for one in trials]))
    against = f"{len(trials)} audits with 2, 5 and 10 % planted, {_SEEDS} seeds"
    title = "wrong labels: intervals that hold the planted number"
    rows.append(Row(title, round(held, 1), "%", _COVERAGE, "higher", against, place, COMMAND))
    write_rows("label_noise", rows)


if __name__ == "__main__":
    main()
