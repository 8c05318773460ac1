"""Any exported encoder through ONNX Runtime; its preprocessing is written in a small YAML beside it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
from lmm_classifier.embeddings.exported_model import Exported, unit_rows
from lmm_classifier.embeddings.preprocessing import Bytes
from lmm_classifier.embeddings.whitening import IdentityRecipe

_EXTRA = "onnx"
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class OnnxEncoder:
    """An `.onnx` file with `NAME.yaml` beside it, or the folder of an export; runs on the CPU.

    Every picture is a request of its own: one fixed shape makes a vector independent of its batch, and on a CPU larger
    batches gain next to nothing. Several pictures are computed side by side, each on one thread, which wastes less than
    all threads on each; a single picture gets all of them. `threads` 0 means all processors.
    """

    def __init__(self, model: Path, preprocessing: Path | None = None, threads: int = 0) -> None:
        self._runtime = load_module("onnxruntime", _EXTRA)
        self._exported = Exported.find(model, ".onnx", preprocessing)
        self._threads = threads or processors()
        self._turn = Lock()  # all threads are for one batch
        self._input, self._type = self._find_input()
        self._output = self._find_output()
        self._fingerprint = self._identify()

    @property
    def fingerprint(self) -> Fingerprint:
        """The model file by content, and its preprocessing; or the checkpoint that it was exported from."""
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
        """Enough for every thread to be busy most of the time."""
        return 8 * self._threads

    def prepare(self, image: Image) -> Bytes:
        """Resize or crop an upright RGB picture to what the model sees, (height, width, 3)."""
        return self._exported.preprocessing.prepare(image)

    def encode(self, prepared: Sequence[Prepared]) -> FloatArray:
        """Encode prepared pictures as unit rows (n, dim); raises EncoderError on values that are not finite."""
        out = np.empty((len(prepared), self._fingerprint.dim), np.float32)
        with self._turn:
            self._fill(out, prepared)
        return unit_rows(out, self._fingerprint)

    def encode_images(self, images: Sequence[Image]) -> FloatArray:
        """Prepare and encode upright RGB pictures as unit rows (n, dim)."""
        return self.encode([self.prepare(image) for image in images])

    def _fill(self, out: FloatArray, prepared: Sequence[Prepared]) -> None:
        if len(prepared) > 1 and self._threads > 1:
            session = self._side_by_side
            with ThreadPoolExecutor(self._threads, "onnx") as pool:
                for number, row in enumerate(pool.map(lambda pixels: self._run(session, pixels), prepared)):
                    out[number] = row
        else:
            for number, pixels in enumerate(prepared):
                out[number] = self._run(self._alone, pixels)

    @cached_property
    def _alone(self) -> Any:
        """A session that puts all threads on one picture."""
        return self._open(self._threads)

    @cached_property
    def _side_by_side(self) -> Any:
        """A session that puts one thread on each picture."""
        return self._open(1)

    def _run(self, session: Any, pixels: Prepared) -> FloatArray:
        batch = self._values(np.asarray(pixels))
        try:
            (result,) = session.run([self._output], {self._input: batch})
        except Exception as error:
            raise EncoderError(f"the model refused its input of shape {batch.shape}: {error}") from error
        return np.asarray(result, np.float32).reshape(-1)

    def _values(self, pixels: Bytes) -> np.ndarray:
        described = self._exported.preprocessing
        if self._type is np.uint8:
            return np.ascontiguousarray(described.laid_out(pixels[None]))
        return described.scaled([pixels]).astype(self._type, copy=False)

    def _open(self, threads: int) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        # a thread that waits must not take the processor from those that decode pictures
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = self._exported.model
        try:
            return self._runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EncoderError(f"{model} is not a loadable ONNX model: {str(error).splitlines()[0]}") from error

    def _find_input(self) -> tuple[str, Any]:
        model, name = self._exported.model, self._exported.preprocessing.input
        node = _only(self._alone.get_inputs(), name, f"{model}: input")
        if node.type not in _TYPES:
            raise EncoderError(f"{model}: input {node.name!r} takes {node.type}, expected {' or '.join(_TYPES)}")
        return node.name, _TYPES[node.type]

    def _find_output(self) -> str:
        model, name = self._exported.model, self._exported.preprocessing.output
        return str(_only(self._alone.get_outputs(), name, f"{model}: output").name)

    def _identify(self) -> Fingerprint:
        source = self._exported.preprocessing.source
        blank = np.zeros((*self._exported.preprocessing.shape, 3), np.uint8)
        dim = source.dim if source is not None else len(self._run(self._alone, blank))
        kind = np.float32 if self._type is np.uint8 else self._type
        return self._exported.fingerprint("onnx", dim, np.dtype(kind).name)


def _only(nodes: Sequence[Any], name: str | None, what: str) -> Any:
    names = [node.name for node in nodes]
    if name is None and len(nodes) == 1:
        return nodes[0]
    if name in names:
        return nodes[names.index(name)]
    raise EncoderError(f"{what} {name!r} cannot be chosen: name one of {', '.join(names)} in the model's YAML")
