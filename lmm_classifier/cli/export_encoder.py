"""The command `export-encoder`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


class Form(StrEnum):
    """What an encoder can be exported to."""

    OPENVINO = "openvino"
    ONNX = "onnx"


def export_encoder(
    form: Annotated[Form, typer.Argument(help="The form to export to.")],
    output: Annotated[Path | None, typer.Option(help="New folder to write. [default: MODEL-FORM]")] = None,
    *,
    config: PipelineConfig,
) -> int:
    """Export the encoder to a folder that needs no torch.

    The checkpoint is encoder.model. The export is compared with transformers on synthetic images. If the float32
    cosine similarity is below 0.9999, the export fails and no file is written. It keeps the fingerprint of its
    checkpoint, so an index of one serves the other.
    """
    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.core.checkpoints import resolve_checkpoint
    from lmm_classifier.core.errors import ConfigError, EncoderError
    from lmm_classifier.core.paths import model_name
    from lmm_classifier.embeddings.export import export_encoder as export_checkpoint

    if len(config.encoders) > 1:
        raise ConfigError(f"encoder is a list of {len(config.encoders)}. Name one encoder to export.")
    encoder = config.encoders[0]
    try:
        folder = resolve_checkpoint(
            encoder.model, encoder.revision, encoder.cache_dir, encoder.allow_download, "siglip"
        )
    except FileNotFoundError as error:
        raise EncoderError(
            f"Cannot load the checkpoint {encoder.model!r} ({error}). Set encoder.model to a hub name or a folder."
        ) from error
    name = model_name(encoder.model)
    output = output or Path(f"{Path(name).name}-{form.value}")
    try:
        exported = export_checkpoint(str(folder), output, form.value, name, encoder.pooling)
    except OSError as error:
        raise EncoderError(f"Cannot write the export to {output}: {error}. Choose another --output.") from error
    if exported.source is None:
        raise EncoderError(f"The export {output} does not name its checkpoint. Export it again.")
    cosines = ", ".join(f"{cosine:.6f} in {dtype}" for dtype, cosine in exported.source.cosines.items())
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    shown = escape_for_terminal(str(output))
    sys.stdout.write(
        f"{shown}: {size:,.0f} MB, {exported.source.dim} numbers per image\n"
        f"least cosine similarity with transformers: {cosines}\n"
        f"to use it: --set encoder.backend={form.value} --set encoder.model={shown}\n"
    )
    return 0
