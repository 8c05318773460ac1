"""Checkpoints become exported encoders: the image tower as an OpenVINO or ONNX model that loads without torch.

What is exported takes bytes (n, height, width, 3) and scales them itself, and is held against transformers' own image
processor and forward pass on drawn pictures: below a cosine of 0.9999 it is not kept.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from filelock import FileLock
from PIL import Image

from lmm_classifier.core.checkpoints import checkpoint_folder, content_digest
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.optional_imports import load, load_module, require
from lmm_classifier.core.protocols import Encoder, FloatArray
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.exported_model import ALIKE, digest
from lmm_classifier.embeddings.preprocessing import Preprocessing, Source

logger = logging.getLogger(__name__)

Form = Literal["openvino", "onnx"]
SUFFIX = {"openvino": ".xml", "onnx": ".onnx"}
_VERSION = "1"  # of what is written; a converted checkpoint of another one is converted again
_OPSET = 20
_SIZES = ((640, 480), (300, 500), (96, 96), (1200, 400))  # of the pictures that are compared, in pixels


def exported_or_converted(config: EncoderConfig) -> Path:
    """The exported model that the configuration names, or its checkpoint converted to OpenVINO: once, then kept."""
    given = Path(config.model)
    if config.device not in ("auto", "cpu"):
        raise EncoderError(f"encoder.backend openvino computes on the CPU, but encoder.device is {config.device!r}")
    if given.suffix == SUFFIX["openvino"] or (given / f"model{SUFFIX['openvino']}").is_file():
        return given
    try:
        folder = checkpoint_folder(config.model, config.revision, config.cache_dir, config.allow_download, "siglip")
    except FileNotFoundError as error:
        raise EncoderError(
            f"cannot load the encoder {config.model!r} ({error}): set encoder.model to a checkpoint, by hub name or "
            "folder, or to the folder of an export (`lmm-classifier export --encoder`)"
        ) from error
    kept = _cache(config.converted_dir) / f"{given.name}-{_identity(folder)}"
    if not (kept / "model.yaml").is_file():
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{kept}.lock"):
                if not (kept / "model.yaml").is_file():
                    shutil.rmtree(kept, ignore_errors=True)  # not whole
                    logger.info("converting %s to OpenVINO, once; it is kept in %s", config.model, kept)
                    export_encoder(str(folder), kept, "openvino", name=given.name if given.is_dir() else config.model)
        except OSError as error:
            raise EncoderError(
                f"cannot keep the converted model in {kept}: {error}; set encoder.converted_dir"
            ) from error
    return kept


def export_encoder(model: str, output: Path, form: Form, name: str | None = None) -> Preprocessing:
    """Export the image tower of the checkpoint in the folder `model` to the new folder `output`.

    Returns its description. Raises EncoderError if it cannot be exported, or if what came out gives other vectors.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise EncoderError(f"{output} exists and is not empty: it is left as it is; choose another folder")
    for library in ("openvino",) if form == "openvino" else ("onnxscript", "onnxruntime"):
        require(library, "openvino" if form == "openvino" else "export")
    encoder = load("lmm_classifier.embeddings.siglip", "SiglipEncoder", "siglip")(model, device="cpu", dtype="float32")
    if encoder.preprocessing is None:
        raise EncoderError(f"{model} looks at pictures of free aspect, which cannot be exported with one input size")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent) as place:
        made = Path(place) / "made"
        made.mkdir()
        file = made / f"model{SUFFIX[form]}"
        tower = _tower(encoder)
        _write_openvino(tower, file) if form == "openvino" else _write_onnx(tower, file)
        found = _description(encoder, file, name or encoder.fingerprint.model)
        _write(found, file)
        source = found.source
        assert source is not None
        cosines = _compared(encoder, file, form)
        found = found.model_copy(update={"source": source.model_copy(update={"cosines": cosines})})
        _write(found, file)
        if output.is_dir():
            output.rmdir()
        shutil.move(made, output)
    return found


def _description(encoder: Any, file: Path, name: str) -> Preprocessing:
    fingerprint, described = encoder.fingerprint, encoder.preprocessing
    source = Source(
        backend=fingerprint.backend,
        model=name,
        revision=fingerprint.revision,
        preprocessing=fingerprint.preprocessing,
        dim=fingerprint.dim,
        digest=digest(file),
    )
    sized = {"size": described.shape, "fit": described.fit, "resize": described.resize, "resample": described.resample}
    return Preprocessing(**sized, layout="nhwc", source=source)


def _write(found: Preprocessing, file: Path) -> None:
    values = found.model_dump(mode="json", exclude_none=True, exclude={"mean", "std", "channels"})
    file.with_suffix(".yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _tower(encoder: Any) -> tuple[Any, Any]:
    """The forward pass from bytes (n, h, w, 3) to (n, dim) as a module, and an example of its input."""
    torch = load_module("torch", "siglip")

    class Tower(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.vision = encoder.vision

        def forward(self, pixels: Any) -> Any:
            return encoder.features(pixels=pixels)

    height, width = encoder.preprocessing.shape
    return Tower().eval(), torch.zeros((1, height, width, 3), dtype=torch.uint8)


def _write_openvino(tower: tuple[Any, Any], file: Path) -> None:
    openvino = load_module("openvino", "openvino")
    module, example = tower
    with _quiet():
        model = openvino.convert_model(module, example_input=example)
        model.reshape([-1, *example.shape[1:]])
        openvino.save_model(model, file, compress_to_fp16=False)


def _write_onnx(tower: tuple[Any, Any], file: Path) -> None:
    torch = load_module("torch", "siglip")
    module, example = tower
    with _quiet():
        torch.onnx.export(
            module,
            (torch.cat([example, example]),),
            file,
            dynamo=True,
            opset_version=_OPSET,
            input_names=["pixels"],
            output_names=["embeddings"],
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
            external_data=True,
            verbose=False,
        )


def _compared(encoder: Any, file: Path, form: Form) -> dict[str, float]:
    """The least cosine with transformers' vectors by number type; raises EncoderError if float32 is not alike."""
    pictures = _pictures()
    expected: FloatArray = encoder.encode_as_transformers(pictures)
    cosines = {}
    for dtype in ("float32", "bfloat16") if form == "openvino" else ("float32",):
        exported = _opened(file, form, dtype)
        if exported is not None:
            cosines[dtype] = round(float((exported.encode_images(pictures) * expected).sum(axis=1).min()), 6)
    if not cosines["float32"] >= ALIKE:
        raise EncoderError(
            f"the exported model gives other vectors than {encoder.fingerprint.model}: cosine "
            f"{cosines['float32']:.6f}, expected at least {ALIKE}; nothing was kept"
        )
    if cosines.get("bfloat16", 1.0) < ALIKE:
        logger.warning("in bfloat16 the cosine is %.6f: float32 will be used", cosines["bfloat16"])
    return cosines


def _opened(file: Path, form: Form, dtype: str) -> Encoder | None:
    """The exported encoder; None where this processor does not compute in `dtype`."""
    encoder: Encoder
    if form == "onnx":
        encoder = load("lmm_classifier.embeddings.onnx", "OnnxEncoder", "onnx")(file)
        return encoder
    core = load_module("openvino", "openvino").Core()
    if dtype == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    encoder = load("lmm_classifier.embeddings.openvino", "OpenvinoEncoder", "openvino")(file, dtype)
    return encoder


def _pictures() -> Sequence[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        draw(KNOWN[number % len(KNOWN)], rng, 256).resize(size, Image.Resampling.BICUBIC)
        for number, size in enumerate(_SIZES)
    ]


def _identity(folder: Path) -> str:
    """What a converted checkpoint depends on: weights, processing, and the form in which it is written."""
    processing = folder / "preprocessor_config.json"
    parts = [_VERSION.encode(), content_digest(folder).encode()]
    parts += [processing.read_bytes()] if processing.is_file() else []
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _cache(chosen: Path | None) -> Path:
    if chosen is not None:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lmm-classifier" / "converted"


@contextmanager
def _quiet() -> Iterator[None]:
    """Tracing remarks on what it cannot follow; what matters is checked afterwards."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels):
            log.setLevel(level)
