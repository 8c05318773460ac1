"""The command `config`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def show_configuration(
    schema: Annotated[bool, typer.Option("--schema", help="Write the JSON schema of a file of settings.")] = False,
    *,
    config: PipelineConfig,
) -> None:
    """Show the settings in force, or their schema.

    The settings are written as a YAML file: those of --config with the changes of the environment and of --set. Values
    of headers are hidden. Editors complete and check a file of settings by the schema.
    """
    from lmm_classifier.cli.commented_settings import schema_file

    if schema:
        sys.stdout.write(schema_file().read_text(encoding="utf-8"))
        return
    import yaml

    sys.stdout.write(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=False, width=10**9))
