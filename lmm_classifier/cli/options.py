"""Options that commands share, and the configuration that they make."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from lmm_classifier.cli.error_handling import exit_on_error

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML configuration. [default: SigLIP and Qwen2-VL]")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. retrieval.k=10.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

IndexArgument = Annotated[Path | None, typer.Argument(help="Index. [default: retrieval.index_path]")]
IndexOption = Annotated[Path | None, typer.Option("--index", help="Index. [default: retrieval.index_path]")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write all figures to this JSON file.")]
ExamplesArgument = Annotated[list[str] | None, typer.Argument(help="Ids of examples, as results show them.")]
LabelOption = Annotated[str | None, typer.Option(help="All examples of this label.")]

FollowLinksOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FOLDER", help="Follow links that lead into this folder; may be repeated."),
]

_COMMON: dict[str, tuple[Any, Any]] = {
    "config": (ConfigOption, None),
    "settings": (SetOption, None),
    "debug": (DebugOption, False),
}


def with_config(command: Callable[..., int | None], offline: bool = False) -> Callable[..., None]:
    """Add `--config`, `--set` and `--debug` to a command, and pass it their configuration as `config`.

    The command returns its exit code, None for 0. Errors become one line. With `offline` the default configuration is
    the one that needs no download.
    """

    @wraps(command)
    def run(*args: Any, config: Path | None, settings: list[str] | None, debug: bool, **options: Any) -> None:
        with exit_on_error(debug):
            raise typer.Exit(command(*args, config=_read(config, settings, offline), **options) or 0)

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


def _read(file: Path | None, settings: list[str] | None, offline: bool) -> PipelineConfig:
    """Read the configuration and set up logging by it."""
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.logging_config import configure_logging

    if file is not None:
        config = PipelineConfig.from_yaml(file)
    else:
        config = PipelineConfig.offline() if offline else PipelineConfig()
    for setting in settings or []:
        config.set(setting)
    configure_logging(config.logging.level, config.logging.json_lines, config.logging.file)
    return config
