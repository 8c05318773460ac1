"""The demo: draws a corpus of patterns, indexes it, classifies new pictures and strangers, and shows it on one page."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmm_classifier.cli.console import ProgressDisplay, printable
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError, CorpusError
from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN, draw
from lmm_classifier.evaluation.audit import Audit, audit
from lmm_classifier.evaluation.reports.audit_page import write_audit_page
from lmm_classifier.evaluation.reports.contact_sheet import write_contact_sheet
from lmm_classifier.evaluation.reports.evaluation_page import write_report
from lmm_classifier.evaluation.results import Entry, Evaluation
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.reports import BuildReport
from lmm_classifier.pipeline.calibrator import Wish, calibrate
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.rerank.summary import summary

_EXAMPLES = 12  # pictures per label in the corpus
_NEW = 8  # new pictures per label, and strangers per class that is not in the corpus
_TARGET = 0.95  # precision to promise
_CALLS = 400  # left-out examples that the second look is measured on
_MISTAKE = ("houndstooth", "polka_dots")  # drawn as the first, filed under the second
_PLANTED = "planted"
_MARK = ".lmm-classifier-demo"  # says that a folder is ours to empty


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the demo; the truth of a stranger is None."""

    entries: Sequence[Entry]

    @property
    def known(self) -> list[Entry]:
        """New pictures of the labels in the corpus."""
        return [entry for entry in self.entries if entry.truth in KNOWN]

    @property
    def strangers(self) -> list[Entry]:
        """Pictures of classes that are not in the corpus."""
        return [entry for entry in self.entries if entry.truth not in KNOWN]

    def summary(self) -> list[tuple[str, str]]:
        """Names and numbers for the terminal and the page."""
        right = sum(entry.result.label == entry.truth for entry in self.known)
        asked = sum(entry.result.decision.reason in ("reranked", "reranker_failed") for entry in self.entries)
        refused = sum(entry.result.is_unknown for entry in self.known)
        caught = sum(entry.result.is_unknown for entry in self.strangers)
        return [
            ("known pictures right", _share(right, len(self.known))),
            ("known called unknown", _share(refused, len(self.known))),
            ("strangers called unknown", _share(caught, len(self.strangers))),
            ("asked again", _share(asked, len(self.entries))),
        ]


def run_demo(output: Path, seed: int, config: PipelineConfig) -> int:
    """Draw, build, classify, print the figures and write `output/index.html`."""
    _empty(output)
    _draw(output / "corpus", KNOWN, _EXAMPLES, seed)
    _plant(output / "corpus", seed)
    _draw(output / "new", (*KNOWN, *UNKNOWN), _NEW, seed + 1)
    config.retrieval.index_path = output / "index"
    with ProgressDisplay() as show:
        report = build_index_from_directory(output / "corpus", config.retrieval.index_path, 64, config, show)
    promised = _calibrate(config)
    outcome = Outcome(list(_classify(output / "new", config)))
    page = output / "index.html"
    write_contact_sheet(
        page, "Patterns, classified without training", outcome.summary(), outcome.entries, output / "corpus"
    )
    classifier = HybridClassifier(config)
    evaluated = Evaluation.of(outcome.entries, set(classifier.index.label_names))
    figures = evaluated.to_dict(classifier.retriever.familiarity.threshold)
    write_report(output / "evaluation.html", evaluated, figures, classifier)
    found = audit(classifier.index, config.retrieval)
    write_audit_page(output / "audit.html", found, classifier.index.contents.file_of)
    _print(report, promised, outcome, found, output)
    return 0


def _plant(corpus: Path, seed: int) -> None:
    """Put one picture under a wrong label, for the audit to find."""
    right, wrong = _MISTAKE
    draw(right, np.random.default_rng((seed, len(KNOWN)))).save(corpus / wrong / f"{_PLANTED}.jpg", quality=90)


def _calibrate(config: PipelineConfig) -> list[str]:
    """Calibrate from a target, and measure the second look; say what was found, or why nothing could be."""
    try:
        calls = _CALLS if config.rerank.enabled else None
        made = calibrate(config.retrieval.index_path, config, Wish(_TARGET, rerank_calls=calls))
    except CalibrationError as error:
        return [str(error)]
    lines = []
    if made.promise is not None:
        lines.append(
            f"promised: at a confidence of {made.promise.threshold:.2f} and above {100 * _TARGET:g} % are right; that "
            f"is expected of {100 * made.promise.coverage:.0f} % of pictures"
        )
    if made.calibration.second_look is not None:
        lines.append(summary(made.calibration.second_look)[0])
    return lines


def _empty(output: Path) -> None:
    """Make `output` an empty folder of ours; somebody's files are never removed."""
    if output.exists() and not (output / _MARK).exists() and (not output.is_dir() or any(output.iterdir())):
        raise CorpusError(f"{output} exists and is not a former demo: choose another folder with --output")
    for folder in ("corpus", "new", "index"):
        shutil.rmtree(output / folder, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    (output / _MARK).touch()


def _draw(root: Path, labels: Sequence[str], count: int, seed: int) -> None:
    for number, label in enumerate(labels):
        folder = root / label
        folder.mkdir(parents=True)
        rng = np.random.default_rng((seed, number))
        for picture in range(count):
            draw(label, rng).save(folder / f"{picture:02}.jpg", quality=90)


def _classify(root: Path, config: PipelineConfig) -> Iterator[Entry]:
    paths = sorted(root.rglob("*.jpg"))
    for path, result in zip(paths, HybridClassifier(config).classify_paths(paths)):
        yield Entry(path, result, path.parent.name)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / max(whole, 1):.0f} %)"


def _print(report: BuildReport, promised: list[str], outcome: Outcome, found: Audit, output: Path) -> None:
    right, wrong = _MISTAKE
    place = next((number for number, one in enumerate(found.suspects, 1) if Path(one.path).stem == _PLANTED), None)
    planted = f"a {right} planted among the {wrong}: " + (
        f"doubt number {place} of {len(found.suspects)}" if place else "not doubted"
    )
    lines = [
        f"{report.total} pictures of {len(report.indexed)} patterns indexed in {report.seconds:.1f} s",
        *promised,
        *(f"{name:<26}{value}" for name, value in outcome.summary()),
        planted,
        f"look at {output / 'index.html'}: every picture with its verdict, confidence, reason and nearest neighbours",
        f"        {output / 'evaluation.html'}: what `evaluate` says, with charts",
        f"        {output / 'audit.html'}: what `audit` doubts in the corpus",
    ]
    sys.stdout.write("\n".join(printable(line) for line in lines) + "\n")
