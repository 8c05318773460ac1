"""The commands that change and check an index."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lmm_classifier.cli.error_handling import door
from lmm_classifier.cli.options import ConfigOption, DebugOption, IndexArgument, SetOption, configured

JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]


class Form(StrEnum):
    """What an encoder can be exported to."""

    OPENVINO = "openvino"
    ONNX = "onnx"


ExamplesArgument = Annotated[list[str] | None, typer.Argument(help="Ids of examples, as verdicts show them.")]


def register(app: typer.Typer) -> None:
    """Make these commands part of `app`."""
    for command in (sync, add, remove, relabel, doctor, export):
        app.command()(command)
    app.command("import")(import_)


def sync(
    corpus: Annotated[
        Path | None, typer.Argument(help="Folder of labelled pictures. [default: the one it was built from]")
    ] = None,
    index: IndexArgument = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pictures handled at a time. [default: encoder.batch_size]")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write what was changed and skipped as JSON.")] = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Bring an index up to date with its folder: new, removed, renamed and moved pictures; nothing is encoded twice.

    Exit codes: 0 done, 3 some pictures skipped, 1 failed.
    """
    with door(debug):
        from lmm_classifier.cli.edit import run_sync

        chosen = configured(config, settings)
        raise typer.Exit(run_sync(index or chosen.retrieval.index_path, corpus, chosen, batch_size, report))


def add(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, and folders that are searched through.")],
    label: Annotated[str, typer.Option(help="The label of all of them.")],
    index: IndexArgument = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Teach an index more pictures of a label; the next picture is classified with them.

    Exit codes: 0 all are in the index, 3 some are not, 1 failed.
    """
    with door(debug):
        from lmm_classifier.cli.edit import run_add

        chosen = configured(config, settings)
        raise typer.Exit(run_add(index or chosen.retrieval.index_path, pictures, label, chosen, as_json))


def remove(
    examples: ExamplesArgument = None,
    label: Annotated[str | None, typer.Option(help="All examples of this label.")] = None,
    index: IndexArgument = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Take examples out of an index; `sync` does not bring them back, `add` does. Files of the corpus stay.

    Exit codes: 0 done, 3 some were not there, 1 failed.
    """
    with door(debug):
        from lmm_classifier.cli.edit import run_remove

        chosen = configured(config, settings)
        raise typer.Exit(run_remove(index or chosen.retrieval.index_path, examples or [], label, chosen, as_json))


def relabel(
    to: Annotated[str, typer.Option(help="The label they are to have.")],
    examples: ExamplesArgument = None,
    label: Annotated[str | None, typer.Option(help="All examples of this label.")] = None,
    index: IndexArgument = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Correct the label of examples; `sync` keeps it until the file is moved to another folder.

    Exit codes: 0 done, 3 some were not there, 1 failed.
    """
    with door(debug):
        from lmm_classifier.cli.edit import run_relabel

        chosen = configured(config, settings)
        path = index or chosen.retrieval.index_path
        raise typer.Exit(run_relabel(path, examples or [], label, to, chosen, as_json))


def doctor(
    index: Annotated[Path | None, typer.Argument(help="Index to check. [default: retrieval.index_path]")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended; nothing sound is lost.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Check every part of an index, say what is wrong and how to mend it.

    Exit codes: 0 sound, 3 something is to be said, 1 damaged.
    """
    with door(debug):
        from lmm_classifier.cli.doctor import run_doctor

        raise typer.Exit(run_doctor(index or configured(config, settings).retrieval.index_path, repair, as_json))


def export(
    index: Annotated[Path | None, typer.Argument(help="Durable index. [default: retrieval.index_path]")] = None,
    output: Annotated[
        Path | None, typer.Option(help="File (NAME.npz) or, with --encoder, new folder to write. [default: index.npz]")
    ] = None,
    encoder: Annotated[
        Form | None, typer.Option(help="Export the checkpoint encoder.model in this form instead of an index.")
    ] = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Write an index into one .npz file, or an encoder into a folder that loads without torch.

    The encoder is held against transformers on drawn pictures; below a cosine of 0.9999 nothing is kept. It keeps the
    fingerprint of its checkpoint, so an index of one serves the other.
    """
    with door(debug):
        from lmm_classifier.cli.edit import run_copy
        from lmm_classifier.cli.export import run_export
        from lmm_classifier.core.errors import ConfigError

        chosen = configured(config, settings)
        if encoder is None:
            raise typer.Exit(run_copy(index or chosen.retrieval.index_path, output or Path("index.npz")))
        if index is not None:
            raise ConfigError("an index and --encoder do not go together: the checkpoint is named by encoder.model")
        raise typer.Exit(run_export(chosen.encoder, encoder.value, output))


def import_(
    file: Annotated[Path, typer.Argument(help="Index in a .npz file.")],
    output: Annotated[Path, typer.Option(help="Folder of the new durable index.")] = Path("index"),
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Make a durable index of a .npz file; nothing is encoded."""
    with door(debug):
        from lmm_classifier.cli.edit import run_copy

        configured(config, settings)
        raise typer.Exit(run_copy(file, output))
