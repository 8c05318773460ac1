"""The command `lmm-classifier`: its commands in panels, each imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lmm_classifier.cli.options import with_config

# The first line of each command's help stands here too, so that `--help` imports none of them; a test compares.
PANELS = {
    "Set up": {
        "init": "Write a file of settings with a comment for each key.",
        "config": "Show the settings in force, or their schema.",
    },
    "Build and edit": {
        "build": "Build an index from a folder of labeled images, or from any other dataset.",
        "sync": "Bring an index up to date with its dataset.",
        "add": "Add images to an index: of one label, or of labeled datasets.",
        "remove": "Remove examples from an index.",
        "relabel": "Correct the label of examples.",
        "undo": "Undo an edit of an index.",
        "edits": "List the edits of an index, or forget old ones.",
        "dismiss": "Call findings of an audit right.",
        "import": "Make a durable index of a file, or apply corrected labels.",
        "export": "Write an index into one .npz file, or its examples for another program.",
        "export-encoder": "Export the encoder to a folder that needs no torch.",
        "quantize-encoder": "Make a faster 8-bit encoder from the encoder and the images of an index.",
    },
    "Classify": {
        "classify": "Classify images by the examples of an index.",
        "serve": "Answer HTTP requests: classify images, and change the index.",
    },
    "Discover": {
        "suggest": "Suggest which images to label next.",
        "discover": "Propose new labels among unlabeled images.",
    },
    "Calibrate and evaluate": {
        "calibrate": "Fit the decision rule and set the thresholds.",
        "hierarchy": "Show the coarse labels above the labels, or propose some.",
        "evaluate": "Measure accuracy and unknowns on a labeled folder, or on any other dataset.",
        "audit": "Find wrong labels, duplicates and outliers.",
        "report": "Show what each encoder and the reranker are worth.",
    },
    "Maintain": {
        "info": "Show what is in an index.",
        "doctor": "Check an index, and repair it.",
        "chunks": "Check the chunks of a table, or delete those that no run needs.",
        "plan": "Estimate what a large collection needs: bytes, GPU hours, and cost.",
        "runs": "List the runs that a server keeps, or delete them.",
        "demo": "Show everything on drawn images.",
    },
}
_MODULES = {"import": "import_index", "config": "show_configuration"}  # commands whose names serve for something else
COMMANDS = [name for commands in PANELS.values() for name in commands]
_MEANT = {("build", "--index"): "--output"}  # options that other commands have, and what they are here
_PLAIN: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class _PanelGroup(TyperGroup):
    """Lists the commands in panels, in plain text, and imports a command when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is click's
        """Return the names of all commands, in the order of the panels."""
        return COMMANDS

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return a command, None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        name = _MODULES.get(cmd_name, cmd_name.replace("-", "_"))
        module = import_module(f"lmm_classifier.cli.{name}")
        single = typer.Typer(add_completion=False, **_PLAIN)
        single.command(cmd_name, context_settings=_PLAIN["context_settings"])(
            with_config(getattr(module, name), getattr(module, "choose_preset", None))
        )
        return typer.main.get_command(single)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; name the option that is meant where a command has another one than its siblings."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            of_command = str(getattr(getattr(error, "ctx", None), "info_name", ""))
            if meant := _MEANT.get((of_command, str(getattr(error, "option_name", "")))):
                error.possibilities = [meant]  # type: ignore[attr-defined] # of an unknown option
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write one section per panel."""
        for panel, commands in PANELS.items():
            with formatter.section(panel):
                formatter.write_dl(list(commands.items()))


app: typer.Typer = typer.Typer(
    cls=_PanelGroup,
    no_args_is_help=True,
    help="Classify images by a folder of labeled ones, without training.",
    epilog="A setting comes from its flag, then from --set, then from the environment (LMM_CLASSIFIER__SECTION__KEY), "
    "then from the --config file, then from the defaults.",
    **_PLAIN,
)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        from lmm_classifier import __version__

        typer.echo(f"lmm-classifier {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command `lmm-classifier`."""
    app()
