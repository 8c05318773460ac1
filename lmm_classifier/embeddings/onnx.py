"""Any exported encoder through ONNX Runtime; a small YAML next to the model describes its preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.core.text import first_line
from lmm_classifier.embeddings.exported_model import ExportedEncoder, ExportedModel

_EXTRA = "onnx"
_IMAGES_PER_THREAD = 8  # in one call
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class OnnxEncoder(ExportedEncoder):
    """An `.onnx` file with `NAME.yaml` next to it, or the folder of an export; runs on the CPU.

    Every image is a run of its own. One fixed shape makes a vector independent of its batch, and on a CPU larger
    batches gain next to nothing. Several images run in parallel, each on one thread, which wastes less than all threads
    on each. A single image gets all threads. `threads` 0 means all processors.
    """

    def __init__(self, model: Path, preprocessing: Path | None = None, threads: int = 0) -> None:
        self._runtime = import_optional("onnxruntime", _EXTRA)
        super().__init__(ExportedModel.find(model, ".onnx", preprocessing), threads, _IMAGES_PER_THREAD)
        self._input, self._type = self._find_input()
        self._output = self._find_output()
        self.fingerprint: Fingerprint = self._identify()

    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        """Return normalized embeddings (n, dim); raises EncoderError on values that are not finite."""
        rows = np.empty((len(preprocessed), self.fingerprint.dim), np.float32)
        with self._turn:
            self._fill(rows, preprocessed)
        return self._normalized(rows)

    def model_input(self, preprocessed: Preprocessed) -> np.ndarray:
        """Return what the model takes of one preprocessed image, (1, ...)."""
        preprocessing, pixels = self.exported.preprocessing, np.asarray(preprocessed)
        if self._type is np.uint8:
            return np.ascontiguousarray(preprocessing.laid_out(pixels[None]))
        return preprocessing.scaled([pixels]).astype(self._type, copy=False)

    def _fill(self, rows: Float32Array, preprocessed: Sequence[Preprocessed]) -> None:
        if len(preprocessed) > 1 and self._threads > 1:
            session = self._parallel_session
            with ThreadPoolExecutor(self._threads, "onnx") as pool:
                for number, row in enumerate(pool.map(lambda pixels: self._row(session, pixels), preprocessed)):
                    rows[number] = row
        else:
            for number, pixels in enumerate(preprocessed):
                rows[number] = self._row(self._single_session, pixels)

    @cached_property
    def _single_session(self) -> Any:
        """A session that uses all threads for one image."""
        return self._open(self._threads)

    @cached_property
    def _parallel_session(self) -> Any:
        """A session that uses one thread for each image."""
        return self._open(1)

    def _row(self, session: Any, pixels: Preprocessed) -> Float32Array:
        row, dim = self._run(session, pixels), self.fingerprint.dim
        if len(row) != dim:
            raise EncoderError(f"{self.exported.model} gives {len(row)} numbers for an image, but {dim} for another")
        return row

    def _run(self, session: Any, pixels: Preprocessed) -> Float32Array:
        batch = self.model_input(pixels)
        try:
            (result,) = session.run([self._output], {self._input: batch})
        except Exception as error:
            raise EncoderError(
                f"{self.exported.model} refused its input of shape {batch.shape}: {first_line(error)}"
            ) from error
        return np.asarray(result, np.float32).reshape(-1)

    def _open(self, threads: int) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.use_deterministic_compute = True
        options.log_severity_level = 4  # errors are raised
        # a waiting thread must not take the processor from the threads that decode images
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = self.exported.model
        try:
            return self._runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EncoderError(f"{model} is not a loadable ONNX model: {first_line(error)}") from error

    def _find_input(self) -> tuple[str, Any]:
        model, name = self.exported.model, self.exported.preprocessing.input
        node = _choose(self._single_session.get_inputs(), name, f"{model}: input")
        if node.type not in _TYPES:
            raise EncoderError(f"{model}: input {node.name!r} takes {node.type}, expected {' or '.join(_TYPES)}")
        if node.shape:  # known
            self.exported.input_shape([n if isinstance(n, int) else None for n in node.shape], node.shape)
        return node.name, _TYPES[node.type]

    def _find_output(self) -> str:
        model, name = self.exported.model, self.exported.preprocessing.output
        return str(_choose(self._single_session.get_outputs(), name, f"{model}: output").name)

    def _identify(self) -> Fingerprint:
        source = self.exported.preprocessing.source
        blank = np.zeros((*self.exported.preprocessing.shape, 3), np.uint8)
        dim = source.dim if source is not None else len(self._run(self._single_session, blank))
        kind = np.float32 if self._type is np.uint8 else self._type
        return self.exported.fingerprint("onnx", dim, np.dtype(kind).name)


def _choose(nodes: Sequence[Any], name: str | None, role: str) -> Any:
    """Return the node with this name, or the only one; `role` names it in the error."""
    names = [node.name for node in nodes]
    if name is None and len(nodes) == 1:
        return nodes[0]
    if name in names:
        return nodes[names.index(name)]
    found = f"{len(names)} to choose from" if name is None else f"there is no {name!r}"
    raise EncoderError(f"{role}: {found}; name one of {', '.join(names)} in the model's YAML")
