"""The job of `lmm-classifier export --encoder`: a checkpoint becomes a folder that loads without torch."""

from __future__ import annotations

import sys
from pathlib import Path

from lmm_classifier.cli.console import printable
from lmm_classifier.core.checkpoints import checkpoint_folder
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.export import Form, export_encoder


def run_export(config: EncoderConfig, form: Form, output: Path | None) -> int:
    """Export the checkpoint `config.model` to the new folder `output`, and say how to use it."""
    try:
        folder = checkpoint_folder(config.model, config.revision, config.cache_dir, config.allow_download, "siglip")
    except FileNotFoundError as error:
        raise EncoderError(
            f"cannot load the checkpoint {config.model!r} ({error}): set encoder.model to a hub name or a folder"
        ) from error
    name = Path(config.model).name
    output = output or Path(f"{name}-{form}")
    try:
        found = export_encoder(str(folder), output, form, name if Path(config.model).is_dir() else config.model)
    except OSError as error:
        raise EncoderError(f"cannot write the export to {output}: {error}; choose another --output") from error
    assert found.source is not None
    alike = ", ".join(f"{cosine:.6f} in {dtype}" for dtype, cosine in found.source.cosines.items())
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    sys.stdout.write(
        f"{printable(str(output))}: {size:,.0f} MB, {found.source.dim} numbers a picture; least cosine with "
        f"transformers {alike}\nuse it: --set encoder.backend={form} --set encoder.model={printable(str(output))}\n"
    )
    return 0
