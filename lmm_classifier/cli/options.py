"""Options that commands share, and the configuration that they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from lmm_classifier.cli.completion import complete_configuration, complete_place
from lmm_classifier.cli.error_handling import exit_on_error
from lmm_classifier.cli.given_configuration import complete_logged_commands, given_configuration
from lmm_classifier.cli.quiet import is_quiet, quiet_if

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig

# text, since a path does not tell `./offline`, a file, from `offline`, a preset
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE|PRESET",
        help="YAML file, or a preset: default, offline, lite, fused, cascade. [default: what the index remembers, else "
        "SigLIP and Qwen2-VL]",
        autocompletion=complete_configuration,
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. retrieval.k=10.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Write only results and errors.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

# the path or URL of an index; the decorator below makes it an `IndexLocation`
IndexArgument = Annotated[
    str | None,
    typer.Argument(help="Index. [default: retrieval.index_path]", autocompletion=complete_place),
]
VectorColumnOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Parquet: the column of vectors. [default: the only one of lists of numbers]"),
]
LabelColumnOption = Annotated[
    str, typer.Option(metavar="NAME", help="Parquet: the column of the labels, text or whole numbers.")
]
LabelsOption = Annotated[
    Path | None, typer.Option(help=".npy: the labels, one a line; or .csv with a column label; or .npy.")
]
IdColumnOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Parquet: the column of ids or paths. [default: numbers of rows]")
]
GroupColumnOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Parquet: the column of groups, such as objects. [default: none]")
]
GroupsOption = Annotated[
    Path | None, typer.Option(help=".npy: the groups, such as objects, in a list like that of --labels.")
]
IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="PATH|URL",
        help="Index. [default: retrieval.index_path]",
        autocompletion=complete_place,
    ),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write all figures to this JSON file.")]
ExamplesArgument = Annotated[list[str] | None, typer.Argument(help="Ids of examples, as results show them.")]
ReplaceFlag = Annotated[
    bool, typer.Option("--replace", help="Let the index lose most of its images, or become that of another dataset.")
]
NoteOption = Annotated[str, typer.Option(help="Why; the journal of edits keeps it.")]
LabelOption = Annotated[str | None, typer.Option(help="All examples of this label.")]

FollowLinksOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FOLDER", help="Follow links that lead into this folder; may be repeated."),
]

PresetChoice = Callable[[dict[str, Any]], str]  # of the options of a command

_COMMON: dict[str, tuple[Any, Any]] = {
    "config": (ConfigOption, None),
    "settings": (SetOption, None),
    "quiet": (QuietOption, False),
    "debug": (DebugOption, False),
}


def with_config(command: Callable[..., int | None], choose_preset: PresetChoice | None = None) -> Callable[..., None]:
    """Add `--config`, `--set`, `--quiet` and `--debug` to a command, and pass it their configuration as `config`.

    The command returns its exit code, None for 0. Errors become one line. Without `--config`, `choose_preset` names
    the preset by the options of the command. A command with an option `index` gets the encoders that the index
    remembers where none is named.
    """

    @wraps(command)
    def run(config: str | None, settings: list[str] | None, quiet: bool, debug: bool, **options: Any) -> None:
        with given_configuration(config, settings), exit_on_error(debug), quiet_if(quiet):
            own = {name: expanded(name, value) for name, value in options.items()}
            name = choose_preset(own) if config is None and choose_preset is not None else config
            configuration = read_configuration(name, settings)
            if "index" in own and not own.get("server"):  # a server has an index of its own
                from lmm_classifier.index.settings.remembered import config_of_index

                configuration = config_of_index(own["index"] or configuration.retrieval.index_path, configuration)
            raise typer.Exit(command(config=configuration, **own) or 0)

    # the configuration's class is imported only where a command runs, so that help does not load it
    names = {**command.__globals__, "PipelineConfig": object}
    hints = get_type_hints(command, names, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name])
        for name, parameter in signature(command).parameters.items()
        if name != "config"
    ]
    common = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _COMMON.items()
    ]
    run.__signature__ = Signature([*own, *common])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *common)}
    return run


def read_configuration(name: str | None, settings: list[str] | None = None) -> PipelineConfig:
    """Read a preset or a file, then the environment, then `settings`, and set up logging. A preset precedes a file."""
    from lmm_classifier.config import PipelineConfig, preset_names
    from lmm_classifier.logging_config import configure_logging

    if name is None:
        config = PipelineConfig()
    else:
        config = PipelineConfig.preset(name) if name in preset_names() else PipelineConfig.from_yaml(name)
    config.set_from_environment(os.environ)
    for setting in settings or []:
        config.set(setting)
    log = config.logging
    configure_logging("ERROR" if is_quiet() and log.file is None else log.level, log.json_lines, log.file)
    complete_logged_commands()
    return config


def only_one(files: list[Path] | None, option: str) -> Path | None:
    """Return the file of an option that is given once; where it is repeated, the others would be lost in silence."""
    if files and len(files) > 1:
        raise typer.BadParameter(f"{option} is given {len(files)} times. Expected one file, or a folder of them.")
    return files[0] if files else None


def expanded(name: str, value: Any) -> Any:
    """Expand `~` in paths, which a shell leaves in `--output=~/index`; make a path or checked URL of `index`."""
    from lmm_classifier.core.index_location import index_location
    from lmm_classifier.core.paths import expand_home

    if isinstance(value, list):
        return [expanded(name, item) for item in value]
    if name == "index" and isinstance(value, str):
        return index_location(value)
    return expand_home(value) if isinstance(value, Path) else value
