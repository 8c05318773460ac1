"""Exported encoders through OpenVINO, in bfloat16 on processors that compute in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL.Image import Image

from lmm_classifier.core.concurrency import processors
from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.optional_imports import load_module
from lmm_classifier.core.protocols import FloatArray, Prepared
from lmm_classifier.embeddings.exported_model import ALIKE, Exported, unit_rows
from lmm_classifier.embeddings.preprocessing import Bytes
from lmm_classifier.embeddings.whitening import IdentityRecipe

_EXTRA = "openvino"
_NAMES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_AHEAD = 4  # pictures given at a time, per stream


class OpenvinoEncoder:
    """An `.xml` model with `NAME.yaml` beside it, or the folder of an export; runs on the CPU.

    Several pictures are computed side by side in streams of one thread, which share the weights and never wait for each
    other; a single picture gets all threads. A vector has the same bits either way. `dtype` auto is bfloat16 where the
    processor computes in it and the export says that its vectors are the checkpoint's. `threads` 0: all processors.
    """

    def __init__(self, model: Path, dtype: str = "auto", threads: int = 0) -> None:
        self._core = load_module("openvino", _EXTRA).Core()
        self._queue_of = load_module("openvino", _EXTRA).AsyncInferQueue
        self._exported = Exported.find(model, ".xml")
        self._threads = threads or processors()
        self._turn = Lock()  # there is one queue
        self._dtype = self._choose(dtype)
        try:
            self._model = self._core.read_model(self._exported.model)
        except RuntimeError as error:
            raise EncoderError(
                f"{self._exported.model} is not a loadable OpenVINO model: {str(error).splitlines()[-1]}"
            ) from error
        self._takes_bytes = self._fix_shape()
        self._fingerprint = self._identify()

    @property
    def fingerprint(self) -> Fingerprint:
        """The checkpoint that it was exported from; or the model file by content, and its preprocessing."""
        return self._fingerprint

    @property
    def space(self) -> IdentityRecipe:
        """Vectors are compared as they are."""
        return IdentityRecipe()

    @property
    def image_size(self) -> int:
        """The side in pixels to which the picture is resized."""
        return self._exported.preprocessing.side

    @property
    def batch_size(self) -> int:
        """Enough for every stream to be busy most of the time."""
        return _AHEAD * self._threads

    def prepare(self, image: Image) -> Bytes:
        """Resize or crop an upright RGB picture to what the model sees, (height, width, 3)."""
        return self._exported.preprocessing.prepare(image)

    def encode(self, prepared: Sequence[Prepared]) -> FloatArray:
        """Encode prepared pictures as unit rows (n, dim); raises EncoderError on values that are not finite."""
        out = np.empty((len(prepared), self._fingerprint.dim), np.float32)
        with self._turn:
            try:
                self._fill(out, prepared)
            except RuntimeError as error:
                raise EncoderError(f"{self._exported.model} failed: {str(error).splitlines()[-1]}") from error
        return unit_rows(out, self._fingerprint, f" in {self._dtype}; try encoder.dtype: float32")

    def encode_images(self, images: Sequence[Image]) -> FloatArray:
        """Prepare and encode upright RGB pictures as unit rows (n, dim)."""
        return self.encode([self.prepare(image) for image in images])

    def _fill(self, out: FloatArray, prepared: Sequence[Prepared]) -> None:
        if len(prepared) == 1:
            out[0] = np.asarray(self._alone(self._values(prepared[0]))[0]).reshape(-1)
        elif prepared:
            queue = self._side_by_side
            queue.set_callback(lambda request, number: _keep(request, out, number))
            for number, pixels in enumerate(prepared):
                queue.start_async(self._values(pixels), number)  # copies: nobody else keeps the values
            queue.wait_all()

    @cached_property
    def _alone(self) -> Any:
        """The model compiled to answer one picture soon."""
        return self._compile({"PERFORMANCE_HINT": "LATENCY"})

    @cached_property
    def _side_by_side(self) -> Any:
        """A queue for the model compiled to get through many pictures, a stream of one thread each."""
        return self._queue_of(self._compile({"NUM_STREAMS": str(self._threads)}), self._threads)

    def _compile(self, options: dict[str, str]) -> Any:
        fixed = {"INFERENCE_PRECISION_HINT": _HINTS[self._dtype], "INFERENCE_NUM_THREADS": str(self._threads)}
        try:
            return self._core.compile_model(self._model, "CPU", fixed | options)
        except RuntimeError as error:
            raise EncoderError(f"{self._exported.model} cannot be compiled: {str(error).splitlines()[-1]}") from error

    def _values(self, pixels: Prepared) -> np.ndarray:
        described, picture = self._exported.preprocessing, np.asarray(pixels)  # (h, w, 3)
        return (
            np.ascontiguousarray(described.laid_out(picture[None]))
            if self._takes_bytes
            else described.scaled([picture])
        )

    def _choose(self, dtype: str) -> str:
        able_to = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if dtype != "auto":
            if _NAMES[dtype] not in able_to:
                raise EncoderError(f"encoder.dtype is {dtype!r}, but this processor computes in {', '.join(able_to)}")
            return dtype
        source = self._exported.preprocessing.source
        alike = source is None or source.cosines.get("bfloat16", 0.0) >= ALIKE
        able = _NAMES["bfloat16"] in able_to
        return "bfloat16" if able and alike else "float32"

    def _fix_shape(self) -> bool:
        """Give the model the one shape it will see; returns whether its input takes bytes."""
        described, model = self._exported.preprocessing, self._exported.model
        if len(self._model.inputs) != 1:
            raise EncoderError(f"{model} has {len(self._model.inputs)} inputs, expected one")
        height, width = described.shape
        shape = [1, 3, height, width] if described.layout == "nchw" else [1, height, width, 3]
        kind = self._model.input(0).get_element_type().get_type_name()
        if kind not in ("u8", "f32"):
            raise EncoderError(f"{model}: its input takes {kind}, expected u8 or f32")
        takes = self._model.input(0).get_partial_shape()
        fits = len(takes) == 4 and all(not one.is_static or one.get_length() == n for one, n in zip(takes, shape))
        if not fits:
            raise EncoderError(f"the model refused its input of shape {tuple(shape)}: it takes {takes}")
        try:
            self._model.reshape(shape)
        except RuntimeError as error:
            raise EncoderError(f"the model refused its input of shape {tuple(shape)}: {error}") from error
        return bool(kind == "u8")

    def _identify(self) -> Fingerprint:
        if len(self._model.outputs) != 1:
            raise EncoderError(f"{self._exported.model} has {len(self._model.outputs)} outputs, expected one")
        shape = self._model.output(0).get_partial_shape()
        if not shape.is_static:
            raise EncoderError(f"{self._exported.model} gives {shape} numbers, expected as many for every picture")
        return self._exported.fingerprint("openvino", int(np.prod(shape.to_shape())), self._dtype)


def _keep(request: Any, out: FloatArray, number: int) -> None:
    out[number] = request.get_output_tensor(0).data.reshape(-1)
