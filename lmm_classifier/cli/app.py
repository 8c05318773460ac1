"""The door for people: parses the command line, calls the rooms below, prints; everything heavy is imported late."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli import index_commands
from lmm_classifier.cli.error_handling import door
from lmm_classifier.cli.options import ConfigOption, DebugOption, SetOption, between, configured, opened

if TYPE_CHECKING:
    pass

app = typer.Typer(
    rich_markup_mode=None,  # help in plain text takes 40 ms less, and needs no wider terminal
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Classify pictures by a folder of labelled ones: no training, an honest 'unknown', a second look in doubt.",
    epilog="A setting comes from its flag, else from --set, else from the --config file, else from the defaults.",
)


class Format(StrEnum):
    """How verdicts are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"


@app.command()
def build(
    corpus: Annotated[Path, typer.Argument(help="Folder of labelled pictures: CORPUS/<label>/**/*.jpg")],
    output: Annotated[
        Path | None,
        typer.Option(help="Index to write: NAME.npz, or a folder. [default: retrieval.index_path]"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pictures handled at a time. [default: encoder.batch_size]")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write what was indexed and skipped as JSON.")] = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Build an index from a folder of labelled pictures.

    Exit codes: 0 all indexed, 3 some pictures skipped, 1 failed.
    """
    with door(debug):
        from lmm_classifier.cli.build import run_build

        raise typer.Exit(run_build(corpus, output, batch_size, configured(config, settings), report))


@app.command()
def calibrate(
    index: Annotated[Path | None, typer.Argument(help="Index to calibrate. [default: retrieval.index_path]")] = None,
    target_precision: Annotated[
        float | None, typer.Option(help="Be right this often when answering at once, e.g. 0.95: sets the threshold.")
    ] = None,
    delta: Annotated[float, typer.Option(help="Chance, 0..1, that the promise is broken.")] = 0.1,
    keep_known: Annotated[
        float, typer.Option(help="Share, 0..1, of pictures of known labels not to be called unknown.")
    ] = 0.95,
    holdout: Annotated[
        Path | None, typer.Option(help="Labelled folder to calibrate on instead of leave-one-out.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(help="Leave out together: 'folder', or a regular expression on the path.")
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="Unlabelled new pictures: finds out whether leave-one-out is too rosy for them.")
    ] = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Also measure the second look on left-out examples: whom to ask about.")
    ] = False,
    calls: Annotated[int, typer.Option(min=20, help="Most examples that --rerank asks about.")] = 400,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Fit the decision rule of an index by leave-one-out, set thresholds from promises, and store both in it.

    Exit codes: 0 done, 1 failed, or the corpus is too small for the promise.
    """
    with door(debug):
        from lmm_classifier.cli.calibrate import run_calibrate
        from lmm_classifier.pipeline.calibrator import Wish

        between("--target-precision", target_precision)
        between("--delta", delta)
        between("--keep-known", keep_known)
        chosen = configured(config, settings)
        path = index or chosen.retrieval.index_path
        wish = Wish(target_precision, delta, keep_known, holdout, group_by, like, calls if rerank else None)
        raise typer.Exit(run_calibrate(path, chosen, wish))


@app.command()
def classify(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, and folders that are searched through.")],
    index: Annotated[Path | None, typer.Option(help="Index to use. [default: retrieval.index_path]")] = None,
    output_format: Annotated[Format, typer.Option("--format", help="How verdicts are written.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    fail_on_unknown: Annotated[bool, typer.Option("--fail-on-unknown", help="Exit with 4 if any is unknown.")] = False,
    leave_out_identical: Annotated[
        bool, typer.Option("--leave-out-identical", help="Ignore examples of the same content as the query.")
    ] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Classify pictures by the examples of an index.

    Exit codes: 0 done, 3 some files were no pictures, 4 some are unknown (with --fail-on-unknown), 1 failed.
    """
    with door(debug):
        from lmm_classifier.cli.classify import run_classify

        chosen = configured(config, settings)
        if index is not None:
            chosen.retrieval.index_path = index
        with opened(output) as out:
            code = run_classify(pictures, chosen, output_format.value, out, leave_out_identical, fail_on_unknown)
        raise typer.Exit(code)


@app.command()
def evaluate(
    folder: Annotated[
        Path, typer.Argument(help="FOLDER/<label>/**/*.jpg; what is no label of the index is a stranger.")
    ],
    index: Annotated[Path | None, typer.Option(help="Index to use. [default: retrieval.index_path]")] = None,
    json_to: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    html_to: Annotated[Path | None, typer.Option("--html", help="Write charts and pictures to this page.")] = None,
    leave_out_identical: Annotated[
        bool, typer.Option("--leave-out-identical", help="Ignore examples of the same content as the query.")
    ] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Classify a labelled folder and measure: accuracy, confidence, unknowns, and what the second look was worth.

    Exit codes: 0 done, 3 some files were no pictures, 1 failed.
    """
    with door(debug):
        from lmm_classifier.cli.evaluate import run_evaluate

        chosen = configured(config, settings)
        if index is not None:
            chosen.retrieval.index_path = index
        raise typer.Exit(run_evaluate(folder, chosen, json_to, html_to, leave_out_identical))


@app.command()
def audit(
    index: Annotated[Path | None, typer.Argument(help="Index to look at. [default: retrieval.index_path]")] = None,
    near: Annotated[
        float, typer.Option(min=0, max=1, help="Similarity from which two pictures are near duplicates.")
    ] = 0.98,
    json_to: Annotated[Path | None, typer.Option("--json", help="Write everything found to this file.")] = None,
    csv_to: Annotated[Path | None, typer.Option("--csv", help="Write one row per finding to this file.")] = None,
    html_to: Annotated[Path | None, typer.Option("--html", help="Write the findings with pictures to a page.")] = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Look for mistakes in the corpus of an index: wrong labels, duplicates, outliers, thin and confusable labels."""
    with door(debug):
        from lmm_classifier.cli.audit import run_audit

        chosen = configured(config, settings)
        run_audit(index or chosen.retrieval.index_path, chosen.retrieval, near, json_to, csv_to, html_to)


@app.command()
def report(
    index: Annotated[Path | None, typer.Argument(help="Calibrated index. [default: retrieval.index_path]")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a page with charts here.")] = None,
    json_to: Annotated[Path | None, typer.Option("--json", help="Write the figures here as JSON.")] = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Show what `calibrate --rerank` measured of the second look: accuracy against calls, and which labels it helps.

    Exit codes: 0 done, 1 failed, or nothing was measured.
    """
    with door(debug):
        from lmm_classifier.cli.report import run_report

        chosen = configured(config, settings)
        raise typer.Exit(run_report(index or chosen.retrieval.index_path, output, json_to))


@app.command()
def info(
    index: Annotated[Path | None, typer.Argument(help="Index to look at. [default: retrieval.index_path]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Show what is in an index: encoder, labels, counts, sizes."""
    with door(debug):
        from lmm_classifier.cli.info import run_info

        run_info(index or configured(config, settings).retrieval.index_path, as_json)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the drawn pictures, the index and the page.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another number draws other pictures.")] = 0,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Draw a corpus of patterns, index it, classify new ones and some strangers, and show it all on one page."""
    with door(debug):
        from lmm_classifier.cli.demo import run_demo
        from lmm_classifier.config import PipelineConfig

        raise typer.Exit(run_demo(output, seed, configured(config, settings, PipelineConfig.offline())))


index_commands.register(app)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False) -> None:
    if version:
        from lmm_classifier import __version__

        typer.echo(f"lmm-classifier {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command `lmm-classifier`."""
    app()
