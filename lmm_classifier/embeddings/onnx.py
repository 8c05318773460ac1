"""Any exported encoder through ONNX Runtime; its preprocessing is written in a small YAML beside the model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from lmm_classifier.datatypes import Fingerprint
from lmm_classifier.errors import ConfigError, EncoderError
from lmm_classifier.lazy import load_module
from lmm_classifier.protocols import FloatArray
from lmm_classifier.spaces import IdentityRecipe
from lmm_classifier.yaml_reader import read_yaml

_EXTRA = "onnx"
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_TEMPLATE = """size: 224            # side in pixels that the model sees, or [height, width]
fit: crop            # crop: shorter side to `resize`, then the centre; squash: both sides to `size`
resize: 256          # only for crop; default: the larger of size
resample: bicubic    # nearest, bilinear, bicubic, lanczos
mean: [0.5, 0.5, 0.5]  # values are pixel / 255, then (value - mean) / std
std: [0.5, 0.5, 0.5]
layout: nchw         # or nhwc
channels: rgb        # or bgr
# input: NAME        # needed when the model has several inputs
# output: NAME       # needed when the model has several outputs
"""

Side = Annotated[int, Field(ge=1, le=8192)]
Triple = tuple[float, float, float]


class Preprocessing(BaseModel):
    """How a picture becomes the model's input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Side | tuple[Side, Side]
    fit: Literal["squash", "crop"] = "squash"
    resize: Side | None = None
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: Triple = (0.0, 0.0, 0.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    layout: Literal["nchw", "nhwc"] = "nchw"
    channels: Literal["rgb", "bgr"] = "rgb"
    input: str | None = None
    output: str | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @classmethod
    def from_yaml(cls, path: Path) -> Preprocessing:
        """Read the YAML; raises ConfigError with the key that is wrong."""
        try:
            return cls(**read_yaml(path.read_text(encoding="utf-8"), str(path)))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)
            )
            raise ConfigError(f"{path}: {faults}; expected keys such as\n{_TEMPLATE}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error

    def apply(self, image: Image.Image) -> FloatArray:
        """One picture as the model's input without the batch axis."""
        height, width = self.shape
        resized = image.resize((width, height), Image.Resampling[self.resample.upper()], self._box(image))
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values: FloatArray = (np.asarray(resized, np.float32) / np.float32(255) - mean) / std  # (h, w, 3)
        if self.channels == "bgr":
            values = values[..., ::-1]
        return values.transpose(2, 0, 1) if self.layout == "nchw" else values

    def _box(self, image: Image.Image) -> tuple[float, float, float, float] | None:
        """The part of the picture that is seen: what a resize of the shorter side and a centre crop would leave."""
        if self.fit == "squash":
            return None
        height, width = self.shape
        scale = (self.resize or max(height, width)) / min(image.size)
        wide, high = min(width / scale, image.width), min(height / scale, image.height)
        left, top = (image.width - wide) / 2, (image.height - high) / 2
        return left, top, left + wide, top + high


class OnnxEncoder:
    """An `.onnx` file with `NAME.yaml` beside it; runs on the CPU, one picture at a time.

    One fixed shape makes a vector independent of its batch, and on a CPU larger batches gain next to nothing.
    """

    def __init__(self, model: Path, preprocessing: Path | None = None, threads: int | None = None) -> None:
        self._runtime = load_module("onnxruntime", _EXTRA)
        if not model.is_file():
            raise EncoderError(f"there is no ONNX model at {model}: set encoder.model to an .onnx file")
        described = preprocessing or model.with_suffix(".yaml")
        if not described.is_file():
            raise EncoderError(
                f"{model} has no description of its preprocessing: write {described}, for example\n{_TEMPLATE}"
            )
        self._preprocessing = Preprocessing.from_yaml(described)
        self._session = self._open(model, threads or os.cpu_count() or 1)
        self._input, self._type = self._find_input(model)
        self._output = self._find_output(model)
        self._fingerprint = self._identify(model)

    @property
    def fingerprint(self) -> Fingerprint:
        """The model file by content, and its preprocessing."""
        return self._fingerprint

    @property
    def space(self) -> IdentityRecipe:
        """Vectors are compared as they are."""
        return IdentityRecipe()

    @property
    def image_size(self) -> int:
        """The side in pixels to which the picture is resized."""
        return max(*self._preprocessing.shape, self._preprocessing.resize or 1)

    def encode_images(self, images: Sequence[Image.Image]) -> FloatArray:
        """Encode upright RGB pictures as unit rows (n, dim); raises EncoderError on values that are not finite."""
        out = np.empty((len(images), self._fingerprint.dim), np.float32)
        for number, image in enumerate(images):
            out[number] = self._run(self._preprocessing.apply(image))
        lengths = np.linalg.norm(out.astype(np.float64), axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise EncoderError(f"{self._fingerprint.model} gave a vector without a direction")
        unit: FloatArray = (out / lengths).astype(np.float32)
        return unit

    def _run(self, values: FloatArray) -> FloatArray:
        batch = np.ascontiguousarray(values[None], dtype=self._type)
        try:
            (result,) = self._session.run([self._output], {self._input: batch})
        except Exception as error:
            raise EncoderError(f"the model refused its input of shape {batch.shape}: {error}") from error
        return np.asarray(result, np.float32).reshape(-1)

    def _open(self, model: Path, threads: int) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        try:
            return self._runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EncoderError(f"{model} is not a loadable ONNX model: {str(error).splitlines()[0]}") from error

    def _find_input(self, model: Path) -> tuple[str, Any]:
        node = _only(self._session.get_inputs(), self._preprocessing.input, f"{model}: input")
        if node.type not in _TYPES:
            raise EncoderError(f"{model}: input {node.name!r} takes {node.type}, expected {' or '.join(_TYPES)}")
        return node.name, _TYPES[node.type]

    def _find_output(self, model: Path) -> str:
        return str(_only(self._session.get_outputs(), self._preprocessing.output, f"{model}: output").name)

    def _identify(self, model: Path) -> Fingerprint:
        digest = hashlib.sha256(model.read_bytes())
        for data in sorted(model.parent.glob(f"{model.name}.data*")):  # weights that are kept beside a large model
            digest.update(data.read_bytes())
        values = self._preprocessing.model_dump(mode="json", exclude={"input"}, exclude_none=True)
        height, width = self._preprocessing.shape
        dim = len(self._run(self._preprocessing.apply(Image.new("RGB", (width, height)))))
        return Fingerprint(
            "onnx",
            model.name,
            digest.hexdigest()[:16],
            json.dumps(values, sort_keys=True),
            dim,
            np.dtype(self._type).name,
        )


def _only(nodes: Sequence[Any], name: str | None, what: str) -> Any:
    names = [node.name for node in nodes]
    if name is None and len(nodes) == 1:
        return nodes[0]
    if name in names:
        return nodes[names.index(name)]
    raise EncoderError(f"{what} {name!r} cannot be chosen: name one of {', '.join(names)} in the model's YAML")
