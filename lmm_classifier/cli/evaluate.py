"""The command `evaluate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lmm_classifier.cli.console import ProgressDisplay, printable
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.files import replacing_file
from lmm_classifier.evaluation.reports.evaluation_page import percent, summary, write_report
from lmm_classifier.evaluation.results import evaluate
from lmm_classifier.pipeline.classifier import HybridClassifier


def run_evaluate(
    folder: Path, config: PipelineConfig, json_to: Path | None, html_to: Path | None, leave_out_identical: bool
) -> int:
    """Evaluate, print a summary, and write what was asked for; 0 done, 3 some files were no pictures."""
    classifier = HybridClassifier(config)
    with ProgressDisplay() as show:
        found = evaluate(folder, classifier, leave_out_identical, show)
    figures = found.to_dict(classifier.retriever.familiarity.threshold)
    if json_to is not None:
        with replacing_file(json_to) as temporary:
            temporary.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if html_to is not None:
        write_report(html_to, found, figures, classifier)
    sys.stdout.write("\n".join(printable(line) for line in _lines(figures, html_to)) + "\n")
    return 3 if found.unreadable else 0


def _lines(figures: dict[str, Any], page: Path | None) -> list[str]:
    pictures = figures["pictures"]
    lines = [f"{pictures['known']} pictures of known labels, {pictures['strangers']} strangers"]
    lines += [f"  {name:<30} {value}" for name, value in summary(figures)]
    for one in figures["unknown"]["trade"] if figures["unknown"] else ():
        keep, kept, passed = one["keep_known"], one["known_kept"], one["strangers_let_through"]
        lines.append(f"  keep_known {keep:g}: keeps {percent(kept)}, lets {percent(passed)} of the strangers through")
    worst = sorted(figures["classes"], key=lambda one: one["share"])[:5]
    lines += [f"  {one['label']}: {one['count']} of {one['of']} right" for one in worst if one["share"] < 1]
    lines += [f"  {one['truth']} taken for {one['answer']}: {one['count']} times" for one in figures["confusions"][:5]]
    if page is not None:
        lines.append(f"look at {page}")
    return lines
