"""What the commands share: their common options, the configuration they make, where they write."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML configuration; without it the defaults (SigLIP, Qwen2-VL) hold.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. retrieval.k=10.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
IndexArgument = Annotated[Path | None, typer.Option("--index", help="Index to change. [default: retrieval.index_path]")]


def configured(file: Path | None, settings: list[str] | None, default: PipelineConfig | None = None) -> PipelineConfig:
    """Read the configuration and set up logging by it."""
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.logging_config import configure_logging

    config = PipelineConfig.from_yaml(file) if file is not None else default or PipelineConfig()
    for setting in settings or []:
        config.set(setting)
    configure_logging(config.logging.level, config.logging.json_lines, config.logging.file)
    return config


def between(name: str, value: float | None) -> None:
    """Raise ConfigError unless the value of an option lies between 0 and 1."""
    if value is not None and not 0 < value < 1:
        from lmm_classifier.core.errors import ConfigError

        raise ConfigError(f"{name}: expected a number between 0 and 1, such as 0.95, got {value:g}")


@contextmanager
def opened(path: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears when it is complete; odd file names pass as they are."""
    if path is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="surrogateescape")
        yield sys.stdout
        return
    from lmm_classifier.core.files import replacing_file

    with (
        replacing_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file
