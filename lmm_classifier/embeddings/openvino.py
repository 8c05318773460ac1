"""Exported encoders through OpenVINO, in bfloat16 on processors that support it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.forking import register_for_reset
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.core.text import last_line
from lmm_classifier.embeddings.exported_model import ALIKE, ExportedEncoder, ExportedModel

_EXTRA = "openvino"
_NAMES = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_IMAGES_PER_THREAD = 4  # in one call
_BEGINNING = 4096  # bytes of a model in which its root element is found


@cache
def openvino_core() -> Any:
    """Return the one Core of this process; raises MissingExtraError without the library.

    Its CPU plugin replaces the stack on which the process handles signals and restores the former stack when it ends.
    With two Cores, the second to end would restore the freed stack of the first, and the next signal, such as Ctrl-C,
    would end the process with a segmentation fault.
    """
    return import_optional("openvino", _EXTRA).Core()


class OpenvinoEncoder(ExportedEncoder):
    """An `.xml` model with `NAME.yaml` next to it, or the folder of an export; runs on the CPU.

    Several images run in parallel in streams of one thread, which share the weights and never wait for each other. A
    single image gets all threads. A vector has the same bits either way. `dtype` auto is bfloat16 where the processor
    supports it and the export says that its vectors are then the checkpoint's. `threads` 0 means all processors.
    """

    def __init__(self, model: Path, dtype: str = "auto", threads: int = 0) -> None:
        self._core = openvino_core()
        self._open_queue = import_optional("openvino", _EXTRA).AsyncInferQueue
        super().__init__(ExportedModel.find(model, ".xml"), threads, _IMAGES_PER_THREAD)
        self._in_parallel = True
        register_for_reset(self)
        self._dtype = self._choose_dtype(dtype)
        self._model = self._read_model()
        self._takes_bytes = self._fix_shape()
        self.fingerprint: Fingerprint = self._identify()

    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        """Return normalized embeddings (n, dim); raises EncoderError on values that are not finite."""
        rows = np.empty((len(preprocessed), self.fingerprint.dim), np.float32)
        with self._turn:
            try:
                self._fill(rows, preprocessed)
            except RuntimeError as error:
                raise EncoderError(f"{self.exported.model} failed: {last_line(error)}") from error
        return self._normalized(rows, f" in {self._dtype}; try encoder.dtype: float32")

    def model_input(self, preprocessed: Preprocessed) -> np.ndarray:
        """Return what the model takes of one preprocessed image, (1, ...)."""
        preprocessing, pixels = self.exported.preprocessing, np.asarray(preprocessed)
        if self._takes_bytes:
            return np.ascontiguousarray(preprocessing.laid_out(pixels[None]))
        return preprocessing.scaled([pixels])

    def reset_after_fork(self) -> None:
        """Encode one image at a time: the threads that answer several at once are those of the parent process."""
        self._in_parallel = False

    def _fill(self, rows: Float32Array, preprocessed: Sequence[Preprocessed]) -> None:
        if len(preprocessed) == 1 or not self._in_parallel:
            for row, image in zip(rows, preprocessed):
                row[:] = np.asarray(self._single_model(self.model_input(image))[0]).reshape(-1)
        elif preprocessed:
            queue = self._parallel_queue
            queue.set_callback(lambda request, number: _store_row(request, rows, number))
            for number, pixels in enumerate(preprocessed):
                queue.start_async(self.model_input(pixels), number)  # it copies the values, which nobody else holds
            queue.wait_all()

    @cached_property
    def _single_model(self) -> Any:
        """The model compiled for the latency of one image."""
        return self._compile({"PERFORMANCE_HINT": "LATENCY"})

    @cached_property
    def _parallel_queue(self) -> Any:
        """A queue for the model compiled for the throughput of many images, one stream of one thread each."""
        return self._open_queue(self._compile({"NUM_STREAMS": str(self._threads)}), self._threads)

    def _read_model(self) -> Any:
        file = self.exported.model
        with file.open("rb") as opened:
            beginning = opened.read(_BEGINNING)
        if b"<net" not in beginning:  # OpenVINO would try the formats of other libraries
            raise EncoderError(f"{file} is not a loadable OpenVINO model: it has no <net>; export it again")
        try:
            return self._core.read_model(file)
        except RuntimeError as error:
            reason = last_line(error).rstrip(" .!")
            raise EncoderError(
                f"{file} is not a loadable OpenVINO model: {reason}; export it again, with its .bin file"
            ) from error

    def _compile(self, options: dict[str, str]) -> Any:
        fixed = {"INFERENCE_PRECISION_HINT": _HINTS[self._dtype], "INFERENCE_NUM_THREADS": str(self._threads)}
        try:
            return self._core.compile_model(self._model, "CPU", fixed | options)
        except RuntimeError as error:
            raise EncoderError(f"{self.exported.model} cannot be compiled: {last_line(error)}") from error

    def _choose_dtype(self, dtype: str) -> str:
        supported = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if dtype != "auto":
            if _NAMES[dtype] not in supported:
                raise EncoderError(f"encoder.dtype is {dtype!r}, but this processor computes in {', '.join(supported)}")
            return dtype
        source = self.exported.preprocessing.source
        alike = source is None or source.cosines.get("bfloat16", 0.0) >= ALIKE
        return "bfloat16" if alike and _NAMES["bfloat16"] in supported else "float32"

    def _fix_shape(self) -> bool:
        """Give the model the one input shape that it gets; return whether its input takes bytes."""
        model = self.exported.model
        if len(self._model.inputs) != 1:
            raise EncoderError(f"{model} has {len(self._model.inputs)} inputs, expected one")
        kind = self._model.input(0).get_element_type().get_type_name()
        if kind not in ("u8", "f32"):
            raise EncoderError(f"{model}: its input takes {kind}, expected u8 or f32")
        accepted = self._model.input(0).get_partial_shape()
        lengths = [axis.get_length() if axis.is_static else None for axis in accepted]
        shape = self.exported.input_shape(lengths, accepted)
        try:
            self._model.reshape(list(shape))
        except RuntimeError as error:
            raise EncoderError(f"{model} refused its input of shape {shape}: {last_line(error)}") from error
        return bool(kind == "u8")

    def _identify(self) -> Fingerprint:
        if len(self._model.outputs) != 1:
            raise EncoderError(f"{self.exported.model} has {len(self._model.outputs)} outputs, expected one")
        shape = self._model.output(0).get_partial_shape()
        if not shape.is_static:
            raise EncoderError(f"{self.exported.model} gives {shape} numbers, expected the same number for all images")
        return self.exported.fingerprint("openvino", int(np.prod(shape.to_shape())), self._dtype)


def _store_row(request: Any, rows: Float32Array, number: int) -> None:
    rows[number] = request.get_output_tensor(0).data.reshape(-1)
