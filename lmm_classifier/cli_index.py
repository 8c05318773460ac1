"""The commands that change and check an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lmm_classifier.cli_options import ConfigOption, DebugOption, IndexArgument, SetOption, configured
from lmm_classifier.door import door

JsonOption = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]
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
        from lmm_classifier.edit_command import run_sync

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
        from lmm_classifier.edit_command import run_add

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
        from lmm_classifier.edit_command import run_remove

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
        from lmm_classifier.edit_command import run_relabel

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
        from lmm_classifier.doctor_command import run_doctor

        raise typer.Exit(run_doctor(index or configured(config, settings).retrieval.index_path, repair, as_json))


def export(
    index: Annotated[Path | None, typer.Argument(help="Durable index. [default: retrieval.index_path]")] = None,
    output: Annotated[Path, typer.Option(help="File to write: NAME.npz")] = Path("index.npz"),
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Write a durable index into one .npz file, to take along or to read with numpy."""
    with door(debug):
        from lmm_classifier.edit_command import run_copy

        raise typer.Exit(run_copy(index or configured(config, settings).retrieval.index_path, output))


def import_(
    file: Annotated[Path, typer.Argument(help="Index in a .npz file.")],
    output: Annotated[Path, typer.Option(help="Folder of the new durable index.")] = Path("index"),
    config: ConfigOption = None,
    settings: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Make a durable index of a .npz file; nothing is encoded."""
    with door(debug):
        from lmm_classifier.edit_command import run_copy

        configured(config, settings)
        raise typer.Exit(run_copy(file, output))
