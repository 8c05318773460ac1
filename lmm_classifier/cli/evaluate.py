"""The command `evaluate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.dataset_options import (
    EvaluatedGroupFromOption,
    ImageFromOption,
    LabelFromOption,
    SplitFromOption,
    SplitOption,
    named_dataset,
)
from lmm_classifier.cli.options import (
    FollowLinksOption,
    GroupColumnOption,
    GroupsOption,
    IdColumnOption,
    IndexOption,
    JsonFile,
    LabelColumnOption,
    LabelsOption,
    VectorColumnOption,
    only_one,
)

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.evaluation.results import Evaluation
    from lmm_classifier.pipeline.classifier import HybridClassifier

_LISTED = 5  # lines of a kind on the terminal


def evaluate(
    folder: Annotated[
        str | None,
        typer.Argument(
            help="Labeled images, as for build. Images of a label that the index does not have count as unknown.",
            autocompletion=complete_place,
        ),
    ] = None,
    index: IndexOption = None,
    json_to: JsonFile = None,
    html_to: Annotated[Path | None, typer.Option("--html", help="Write charts and images to this page.")] = None,
    follow_links: FollowLinksOption = None,
    leave_out_identical: Annotated[
        bool, typer.Option("--leave-out-identical", help="Ignore examples with the same content as the query.")
    ] = False,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Images of one group are no independent trials, and intervals are by groups: 'folder', 'column' "
            "(--group-from), or a regular expression on the path."
        ),
    ] = None,
    label_from: LabelFromOption = None,
    image_from: ImageFromOption = None,
    group_from: EvaluatedGroupFromOption = None,
    split_from: SplitFromOption = None,
    split: SplitOption = None,
    vectors: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Evaluate labeled vectors instead: .parquet, a folder of them, or .npy."),
    ] = None,
    vector_column: VectorColumnOption = None,
    label_column: LabelColumnOption = "label",
    id_column: IdColumnOption = None,
    group_column: GroupColumnOption = None,
    labels: LabelsOption = None,
    groups: GroupsOption = None,
    *,
    config: PipelineConfig,
) -> int:
    """Measure accuracy and unknowns on a labeled folder, or on any other dataset.

    Or on labeled vectors, with --vectors. The report covers accuracy, confidence, unknown images, and what the
    reranker changed.

    Exit codes: 0 done, 3 some files are not images or were skipped, 1 failed.
    """
    from lmm_classifier.cli.console import command_progress, escape_for_terminal, print_skipped
    from lmm_classifier.core.files import atomic_write, require_place
    from lmm_classifier.evaluation.evaluate import evaluate_folder
    from lmm_classifier.evaluation.reports.evaluation_page import write_evaluation_page
    from lmm_classifier.pipeline.classifier import HybridClassifier

    if index is not None:
        config.retrieval.index_path = index
    if follow_links:
        config.images.follow_links = follow_links
    require_place(json_to, html_to)
    given = only_one(vectors, "--vectors")
    if (folder is None) == (given is None):
        raise typer.BadParameter("Expected a folder of labeled images, or --vectors; one of them.")
    if given is not None:
        if leave_out_identical or group_by is not None or group_from is not None:
            raise typer.BadParameter(
                "--leave-out-identical, --group-by and --group-from are about images, and --vectors has none."
            )
        classifier, evaluation = _evaluate_vectors(
            given, (vector_column, label_column, id_column, group_column), (labels, None, groups), config
        )
    elif folder is not None:
        spec = named_dataset(folder, label_from, image_from, group_from, split_from, split)
        classifier = HybridClassifier(config)
        grouping = group_by or (None if group_from is None else "column")
        with command_progress() as show:
            evaluation = evaluate_folder(spec, classifier, leave_out_identical, show, group_by=grouping)
    figures = evaluation.to_dict(classifier.retriever.calibration.familiarity_threshold)
    if json_to is not None:
        with atomic_write(json_to) as temporary:
            temporary.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if html_to is not None:
        write_evaluation_page(html_to, evaluation, classifier)
    lines = [*_lines(figures), *([f"Report written to {html_to}"] if html_to is not None else [])]
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in lines) + "\n")
    for warning in evaluation.warnings:
        sys.stderr.write(escape_for_terminal(f"warning: {warning}") + "\n")
    print_skipped(evaluation.skipped)
    return 3 if evaluation.unreadable or any(file.failed for file in evaluation.skipped) else 0


def _evaluate_vectors(
    file: Path,
    columns: tuple[str | None, str, str | None, str | None],
    lists: tuple[Path | None, None, Path | None],
    config: PipelineConfig,
) -> tuple[HybridClassifier, Evaluation]:
    from lmm_classifier.cli.given_vectors import evaluate_given
    from lmm_classifier.data.vectors.named_vectors import VectorColumns

    return evaluate_given(file, VectorColumns(*columns), lists, config)


def _lines(figures: dict[str, Any]) -> list[str]:
    from lmm_classifier.evaluation.figures import percent, summary

    images = figures["images"]
    lines = [f"{images['known']} images of known labels, {images['unknowns']} unknown images"]
    lines += [f"  {name:<34} {value}" for name, value in summary(figures)]
    for row in figures["unknown"]["tradeoff"] if figures["unknown"] else ():
        keep, known, unknown = row["keep_known"], percent(row["known_accepted"]), percent(row["unknowns_accepted"])
        lines.append(f"  at keep_known {keep:g}: accepts {known} of known and {unknown} of unknown images")
    worst = sorted((row for row in figures["classes"] if row["fraction"] < 1), key=lambda row: row["fraction"])
    lines += _first([f"  {row['label']}: {row['count']} of {row['of']} correct" for row in worst], "labels with errors")
    confusions = [
        f"  {row['truth']} predicted as {row['answer']}: {row['count']} times" for row in figures["confusions"]
    ]
    return [*lines, *_first(confusions, "pairs of labels")]


def _first(lines: list[str], what: str) -> list[str]:
    """Return the first lines of a kind, and how many more there are."""
    more = len(lines) - _LISTED
    return lines if more <= 0 else [*lines[:_LISTED], f"  {more} more {what}: --html and --json have them all"]
