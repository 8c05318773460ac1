"""What `classify --vectors` and `evaluate --vectors` share: no image is read and no encoder is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from lmm_classifier.cli.classify_output import AnyOutput
from lmm_classifier.cli.console import escape_for_terminal
from lmm_classifier.cli.drift_file import drift_log
from lmm_classifier.cli.quiet import write_note
from lmm_classifier.cli.stored_results import outcome
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.vectors.named_vectors import VectorColumns
from lmm_classifier.data.vectors.vector_files import read_vectors
from lmm_classifier.discovery.drift.stream_order import in_stream_order
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.run_identity import run_identity
from lmm_classifier.pipeline.stages.answer_options import ANY, AnswerOptions

if TYPE_CHECKING:
    from lmm_classifier.evaluation.results import Evaluation

_BATCH = 1024


@contextmanager
def options_named(columns: VectorColumns) -> Iterator[None]:
    """Let an error about a column name the option that chooses another."""
    chosen = {"--label-column": columns.label, "--id-column": columns.path, "--group-column": columns.group}
    chosen["--vector-column"] = columns.vector
    try:
        yield
    except DatasetError as error:
        message = str(error)
        options = [option for option, name in chosen.items() if name and f"column {name!r}. Columns: " in message]
        if options:
            raise DatasetError(f"{message} Name another with {options[0]}.") from error
        if message.endswith(" Name the one that holds the vectors."):
            raise DatasetError(f"{message.removesuffix('.')} with --vector-column.") from error
        raise


def open_for_vectors(config: PipelineConfig) -> HybridClassifier:
    """Open the index without an encoder."""
    if [section.backend for section in config.encoders] != ["vectors"]:
        config.encoder = EncoderConfig(backend="vectors")
    return HybridClassifier(config)


def classify_vectors(
    file: Path,
    columns: VectorColumns,
    output: AnyOutput,
    config: PipelineConfig,
    options: AnswerOptions = ANY,
    drift: Path | None = None,
) -> Counter[str]:
    """Write a result for each vector, named by its id or by the number of its row; return the counts by outcome.

    `drift` is the file of a drift test. A file of vectors may be sorted by label, so they are tested in stream order.
    """
    with options_named(columns):
        given = read_vectors(file, columns)
    counts, tested, log = Counter[str](), list[tuple[str, str, float]](), None
    with open_for_vectors(config) as classifier:
        labels, has_levels = classifier.index.label_names, classifier.roll_up is not None
        with output.opened(run_identity(classifier), labels, has_levels), drift_log(drift, classifier) as log:
            for start in range(0, len(given.vectors), _BATCH):
                part = given.vectors[start : start + _BATCH]
                names = range(start, start + len(part)) if given.ids is None else given.ids[start : start + len(part)]
                for name, vector, result in zip(names, part, classifier.classify_vectors(part, options)):
                    named = replace(result, path=str(name))
                    output.write(named)
                    counts[outcome(named.decision.reason, named.is_unknown)] += 1
                    if log is not None and result.familiarity is not None:
                        tested.append((str(name), sha256(vector.tobytes()).hexdigest(), result.familiarity))
            if log is not None:
                for image in in_stream_order(tested, itemgetter(0)):
                    log.observe(*image)
    outcomes = ", ".join(f"{number} {name}" for name, number in counts.items())
    lines = [
        f"{sum(counts.values())} vectors: {outcomes or 'nothing to do'}",
        *(log.test.report().lines if log else []),
    ]
    write_note("\n".join(map(escape_for_terminal, lines)))
    return counts


def evaluate_given(
    file: Path, columns: VectorColumns, lists: Sequence[Path | None], config: PipelineConfig
) -> tuple[HybridClassifier, Evaluation]:
    """Evaluate labeled vectors; return the classifier too. `lists` are the files of labels, ids and groups."""
    from lmm_classifier.evaluation.evaluate_vectors import evaluate_vectors

    with options_named(columns):
        given = read_vectors(file, columns, *lists)
    if given.labels is None:
        raise DatasetError(f"{file} has no labels, so there is nothing to compare the results with.")
    classifier = open_for_vectors(config)
    return classifier, evaluate_vectors(given.vectors, given.labels, classifier, given.ids, groups=given.groups)
