"""Export the image tower of a checkpoint as an OpenVINO or ONNX model that loads without torch.

The exported model takes bytes (n, height, width, 3) and scales them itself. Its vectors of drawn images are compared
with those of transformers' own image processor and forward pass. Below a cosine of 0.9999 the export is refused.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock
from PIL import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.checkpoints import checkpoint_digest, resolve_checkpoint
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.optional_imports import import_attribute, import_optional, require_optional
from lmm_classifier.core.paths import cache_folder, expand_home, model_name
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.exported_model import ALIKE, write_description
from lmm_classifier.embeddings.model_types import Pooling
from lmm_classifier.embeddings.preprocessing import Preprocessing, Source

logger: logging.Logger = logging.getLogger(__name__)

Form = Literal["openvino", "onnx"]
SUFFIX = {"openvino": ".xml", "onnx": ".onnx"}
_VERSION = "2"  # of the exported files; checkpoints converted by another version are converted again
_OPSET = 20
_SIZES = ((640, 480), (300, 500), (96, 96), (1200, 400))  # sizes in pixels of the drawn images


def exported_or_converted(config: EncoderConfig) -> Path:
    """Return the exported model that the configuration names, or convert its checkpoint to OpenVINO.

    A checkpoint is converted once; the result is stored in `encoder.converted_dir`.

    Raises:
        EncoderError: there is no such model, or it cannot be converted or stored.
    """
    given = expand_home(config.model)
    if config.device not in ("auto", "cpu"):
        raise EncoderError(f"encoder.backend openvino computes on the CPU, but encoder.device is {config.device!r}")
    if given.suffix == SUFFIX["openvino"] or (given / f"model{SUFFIX['openvino']}").is_file():
        return given
    try:
        folder = resolve_checkpoint(config.model, config.revision, config.cache_dir, config.allow_download, "siglip")
    except FileNotFoundError as error:
        raise EncoderError(
            f"cannot load the encoder {config.model!r} ({error}): set encoder.model to a checkpoint, by hub name or "
            "folder, or to the folder of an export (`lmm-classifier export-encoder`)"
        ) from error
    cache = config.converted_dir or cache_folder() / "converted"
    converted = cache / f"{Path(model_name(config.model)).name}-{_identity(folder, config.pooling)}"
    if not (converted / "model.yaml").is_file():
        try:
            converted.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{converted}.lock"):
                if not (converted / "model.yaml").is_file():
                    shutil.rmtree(converted, ignore_errors=True)  # it is incomplete
                    logger.info("converting %s to OpenVINO once; the result is stored in %s", config.model, converted)
                    name = model_name(config.model)
                    export_encoder(str(folder), converted, "openvino", name, config.pooling)
        except OSError as error:
            raise EncoderError(
                f"cannot store the converted model in {converted}: {error}; set encoder.converted_dir"
            ) from error
    return converted


def export_encoder(
    model: str, output: Path, form: Form, name: str | None = None, pooling: Pooling = "auto"
) -> Preprocessing:
    """Export the image tower of a checkpoint.

    Args:
        model: hub name or folder of the checkpoint.
        output: the folder to create.
        form: `openvino` or `onnx`.
        name: name of the model in the description; None is the one in the encoder's fingerprint.
        pooling: which output is the embedding, as in `EncoderConfig.pooling`.

    Returns:
        The description that is stored next to the model.

    Raises:
        EncoderError: the checkpoint cannot be exported, or the exported model gives other vectors.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise EncoderError(f"{output} exists and is not empty: it is not changed; choose another folder")
    for library in ("openvino",) if form == "openvino" else ("onnxscript", "onnxruntime"):
        require_optional(library, "openvino" if form == "openvino" else "export")
    encoder = import_attribute("lmm_classifier.embeddings.transformers", "TransformersEncoder", "siglip")(
        model, device="cpu", dtype="float32", pooling=pooling
    )
    if encoder.preprocessing is None:
        raise EncoderError(f"{model} takes images of free aspect, which cannot be exported with one input size")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent) as temporary:
        folder = Path(temporary) / "export"
        folder.mkdir()
        file = folder / f"model{SUFFIX[form]}"
        try:
            _write_openvino(_tower(encoder), file) if form == "openvino" else _write_onnx(_tower(encoder), file)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise EncoderError(f"{model} cannot be converted to {form}: {reason}") from error
        description = _describe(encoder, name or encoder.fingerprint.model)
        description = write_description(description, file)
        source = description.source
        assert source is not None
        cosines = _compare(encoder, file, form)
        description = description.model_copy(update={"source": source.model_copy(update={"cosines": cosines})})
        description = write_description(description, file)
        if output.is_dir():
            output.rmdir()
        shutil.move(folder, output)
    return description


def _describe(encoder: Any, name: str) -> Preprocessing:
    fingerprint, preprocessing = encoder.fingerprint, encoder.preprocessing
    source = Source(
        backend=fingerprint.backend,
        model=name,
        revision=fingerprint.revision,
        preprocessing=fingerprint.preprocessing,
        dim=fingerprint.dim,
        digest="",  # known when it is written
    )
    return Preprocessing(
        size=preprocessing.shape,
        fit=preprocessing.fit,
        resize=preprocessing.resize,
        resample=preprocessing.resample,
        layout="nhwc",
        source=source,
    )


def _tower(encoder: Any) -> tuple[Any, Any]:
    """Return the forward pass from bytes (n, h, w, 3) to (n, dim) as a module, and an example of its input."""
    torch = import_optional("torch", "siglip")

    class Tower(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.vision = encoder.vision

        def forward(self, pixels: Any) -> Any:
            return encoder.features(pixels=pixels)

    height, width = encoder.preprocessing.shape
    return Tower().eval(), torch.zeros((1, height, width, 3), dtype=torch.uint8)


def _write_openvino(tower: tuple[Any, Any], file: Path) -> None:
    openvino = import_optional("openvino", "openvino")
    module, example = tower
    with _quiet():
        model = openvino.convert_model(module, example_input=example)
        model.reshape([-1, *example.shape[1:]])
        openvino.save_model(model, file, compress_to_fp16=False)


def _write_onnx(tower: tuple[Any, Any], file: Path) -> None:
    torch = import_optional("torch", "siglip")
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


def _compare(encoder: Any, file: Path, form: Form) -> dict[str, float]:
    """Return the least cosine with transformers' vectors by number type; raises EncoderError if float32 differs."""
    images = _images()
    expected: Float32Array = encoder.encode_as_transformers(images)
    cosines = {}
    for dtype in ("float32", "bfloat16") if form == "openvino" else ("float32",):
        exported = _open(file, form, dtype)
        if exported is not None:
            cosines[dtype] = round(float((encode_images(exported, images) * expected).sum(axis=1).min()), 6)
    if not cosines["float32"] >= ALIKE:
        raise EncoderError(
            f"the exported model gives other vectors than {encoder.fingerprint.model}: cosine "
            f"{cosines['float32']:.6f}, expected at least {ALIKE}; nothing was stored"
        )
    if cosines.get("bfloat16", 1.0) < ALIKE:
        logger.warning("in bfloat16 the least cosine is %.6f, so float32 will be used", cosines["bfloat16"])
    return cosines


def _open(file: Path, form: Form, dtype: str) -> Encoder | None:
    """Open the exported encoder; return None where this processor does not compute in `dtype`."""
    encoder: Encoder
    if form == "onnx":
        encoder = import_attribute("lmm_classifier.embeddings.onnx", "OnnxEncoder", "onnx")(file)
        return encoder
    core = import_attribute("lmm_classifier.embeddings.openvino", "openvino_core", "openvino")()
    if dtype == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    encoder = import_attribute("lmm_classifier.embeddings.openvino", "OpenvinoEncoder", "openvino")(file, dtype)
    return encoder


def _images() -> Sequence[Image.Image]:
    rng = np.random.default_rng(0)
    return [
        draw(KNOWN[number % len(KNOWN)], rng, 256).resize(size, Image.Resampling.BICUBIC)
        for number, size in enumerate(_SIZES)
    ]


def _identity(folder: Path, pooling: Pooling) -> str:
    """Return a digest of all that a conversion depends on: checkpoint, pooling, version of the exported files."""
    chosen = "" if pooling == "auto" else f" {pooling}"
    return hashlib.sha256(f"{_VERSION} {checkpoint_digest(folder)}{chosen}".encode()).hexdigest()[:16]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings of tracing; the exported model is checked afterwards."""
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
