"""Quantize an exported encoder to 8 bits, with images that it is for.

Weights get 8 bits for each channel, activations 8 bits in a range that the images show. The vectors differ from those
of the encoder, so the fingerprint does too. Whether they are good enough is for the caller to measure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.optional_imports import require_optional
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.data.decoding.decoder_start import import_path
from lmm_classifier.embeddings.exported_model import ExportedEncoder, model_digest, write_description
from lmm_classifier.embeddings.onnx_external_data import external_files
from lmm_classifier.embeddings.preprocessing import Preprocessing, Source

Form = Literal["openvino", "onnx"]
_EXTRA = "int8"
SUFFIX = {"openvino": ".xml", "onnx": ".onnx"}
_LIBRARIES = {"openvino": (("openvino", "openvino"), ("nncf", _EXTRA)), "onnx": (("onnx", _EXTRA),)}
_MARK = ", 8-bit"  # after the name of the model in the fingerprint
_WORKER = Path(__file__).with_name("quantization_worker.py")


@dataclass(frozen=True)
class QuantizedLayers:
    """How many of the convolutions and matrix products of a model have 8-bit weights."""

    quantized: int
    total: int


def require_quantizer(form: Form) -> None:
    """Raise MissingExtraError where a library is missing that quantizes to this form."""
    for library, extra in (*_LIBRARIES[form], ("onnxruntime", _EXTRA)):
        require_optional(library, extra)


def default_form(encoder: ExportedEncoder) -> Form:
    """Return the form of the encoder's own model."""
    return "openvino" if encoder.exported.model.suffix == ".xml" else "onnx"


def quantize(
    encoder: ExportedEncoder, images: Sequence[Preprocessed], form: Form, folder: Path, float_fraction: float = 0.0
) -> QuantizedLayers:
    """Write the 8-bit model of an encoder and its description.

    Args:
        encoder: an encoder of an exported model.
        images: preprocessed images that show the ranges of the activations, a hundred or more.
        form: `openvino` takes a model of either form, `onnx` an ONNX model.
        folder: an empty folder to write to.
        float_fraction: fraction of the layers, 0 to 1, that stay as they are: the first ones, in which small errors
            matter most.

    Returns:
        How many layers have 8 bits now.

    Raises:
        EncoderError: the model cannot be quantized, or no layer of it.
        MissingExtraError: a library is missing.
    """
    require_quantizer(form)
    if encoder.fingerprint.model.endswith(_MARK):
        raise EncoderError(f"{encoder.exported.model} has 8 bits already: quantize the encoder that it was made from")
    if default_form(encoder) == "onnx" and encoder.fingerprint.dtype == "float16":
        raise EncoderError(f"{encoder.exported.model} computes in float16: quantize the model in float32")
    if form == "onnx" and default_form(encoder) != "onnx":
        raise EncoderError(f"{encoder.exported.model} is an OpenVINO model: quantize it to openvino")
    model = folder / f"model{SUFFIX[form]}"
    with tempfile.TemporaryDirectory(prefix=".lmm-classifier-", dir=folder.parent) as temporary:
        inputs = Path(temporary) / "inputs.npy"
        _write_inputs(encoder, images, inputs)
        job = {
            "form": form,
            "model": str(encoder.exported.model),
            "has_weights_elsewhere": form == "onnx" and bool(external_files(encoder.exported.model)),
            "input": encoder.exported.preprocessing.input,
            "inputs": str(inputs),
            "optimized": str(Path(temporary) / "model.onnx"),
            "output": str(model),
            "float_fraction": float_fraction,
            "result": str(Path(temporary) / "layers.json"),
        }
        layers = _run(job, encoder)
    write_description(_description(encoder, form, model), model)
    return layers


def _write_inputs(encoder: ExportedEncoder, images: Sequence[Preprocessed], file: Path) -> None:
    """Write what the model takes of each image to an `.npy` file, (n, 1, ...), without all of it in memory."""
    first = encoder.model_input(images[0])
    stored = np.lib.format.open_memmap(file, "w+", first.dtype, (len(images), *first.shape))
    for row, image in enumerate(images):
        stored[row] = encoder.model_input(image)
    stored.flush()


def _run(job: dict[str, Any], encoder: ExportedEncoder) -> QuantizedLayers:
    """Run the worker; raise EncoderError with its last line where it fails."""
    given = json.dumps({**job, "path": import_path()})
    done = subprocess.run(
        [sys.executable, "-I", str(_WORKER), given],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "NNCF_CI": "1"},  # nncf reports nothing then
    )
    if done.returncode != 0 or not Path(job["output"]).is_file():
        lines = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
        raise EncoderError(f"{encoder.exported.model} cannot be quantized to 8 bits: {lines[-1]}")
    layers = QuantizedLayers(*json.loads(Path(job["result"]).read_text(encoding="ascii")))
    if not layers.quantized:
        raise EncoderError(f"{encoder.exported.model}: none of its {layers.total} layers can be quantized to 8 bits")
    return layers


def _description(encoder: ExportedEncoder, form: Form, model: Path) -> Preprocessing:
    fingerprint = encoder.fingerprint
    source = Source(
        backend=form,
        model=f"{fingerprint.model}{_MARK}",
        revision=model_digest(model),
        preprocessing=fingerprint.preprocessing,
        dim=fingerprint.dim,
        digest="",  # known when it is written
    )
    return encoder.exported.preprocessing.model_copy(update={"source": source})
