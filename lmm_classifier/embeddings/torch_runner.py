"""Runs a tower of torch over prepared pictures: batches of one shape, copies that overlap with the computation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.optional_imports import load_module
from lmm_classifier.core.protocols import FloatArray, Prepared

logger = logging.getLogger(__name__)

_EXTRA = "siglip"
_TOKENS = 32_768  # patches of one forward pass: enough rows for the matrix products to fill a large GPU
_MPS_BATCH = 16
_SLOTS = 2  # one batch is copied while the other is computed

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Forward:
    """How forward passes are run: pictures in each, threads on a CPU (0: chosen), and whether torch compiles them."""

    batch: int = 0
    threads: int = 0
    compiled: bool = False


AS_CHOSEN = Forward()


class TorchTower:
    """A function of torch tensors, `features(**inputs) -> (b, dim)`, as one of prepared pictures.

    Batches are padded to one fixed shape, so that a row does not depend on its batch. `forward.batch` 0 chooses: 1 on
    a CPU, where larger ones gain next to nothing; on CUDA as many pictures of `tokens` patches as fill the chip. Where
    one does not fit in the memory of the device, it is halved, for good. On CUDA, batches are gathered in pinned memory
    and copied on a stream of their own while the one before is computed.
    """

    def __init__(self, features: Callable[..., Any], device: str, tokens: int, forward: Forward = AS_CHOSEN) -> None:
        self._torch = load_module("torch", _EXTRA)
        self._features = self._torch.compile(features, dynamic=False) if forward.compiled else features
        self._device = device
        self._on_cuda = device.startswith("cuda")
        chosen = max(8, _TOKENS // tokens // 8 * 8) if self._on_cuda else 1 if device == "cpu" else _MPS_BATCH
        self.batch = forward.batch or chosen
        self._turn = Lock()  # one batch size, one device

    def __call__(self, prepared: Sequence[Prepared], dim: int) -> FloatArray:
        """Compute (n, dim) float32 of prepared pictures, in order."""
        while True:
            try:
                with self._turn:
                    return self._computed(prepared, dim, self.batch)
            except self._torch.OutOfMemoryError as error:
                if self.batch == 1:
                    raise EncoderError(f"the memory of {self._device} is too small for one picture") from error
                self.batch //= 2
                self._torch.cuda.empty_cache()
                logger.warning("the memory of %s is too small: %d pictures at a time", self._device, self.batch)

    def _computed(self, prepared: Sequence[Prepared], dim: int, batch: int) -> FloatArray:
        rows = self._torch.empty((len(prepared), dim), dtype=self._torch.float32, device=self._device)
        starts = range(0, len(prepared), batch)
        batches = (self._gathered(prepared[start : start + batch], batch) for start in starts)
        with self._torch.inference_mode():
            for start, inputs in zip(starts, self._on_device(batches)):
                part = rows[start : start + batch]
                part.copy_(self._features(**inputs)[: len(part)])
        found: FloatArray = rows.cpu().numpy()
        return found

    def _gathered(self, part: Sequence[Prepared], batch: int) -> Arrays:
        """One batch of arrays (batch, ...), the last picture repeated where there are too few."""
        padded = [*part, *[part[-1]] * (batch - len(part))]
        if isinstance(padded[0], Mapping):
            return {name: np.stack([np.asarray(one[name]) for one in padded]) for name in padded[0]}
        return {"pixels": np.stack([np.asarray(one) for one in padded])}

    def _on_device(self, batches: Iterable[Arrays]) -> Iterator[dict[str, Any]]:
        """The batches as tensors of the device; on CUDA the next one is on its way while one is computed."""
        if not self._on_cuda:
            for arrays in batches:
                yield {name: self._torch.from_numpy(array).to(self._device) for name, array in arrays.items()}
            return
        stream, sent = self._torch.cuda.Stream(self._device), []
        for arrays in batches:
            sent.append(self._send(arrays, stream))
            if len(sent) == _SLOTS:
                yield self._arrived(*sent.pop(0))
        for one in sent:
            yield self._arrived(*one)

    def _send(self, arrays: Arrays, stream: Any) -> tuple[dict[str, Any], Any]:
        """Begin to copy a batch. Pinned memory comes from torch's cache, which waits for the copies out of it."""
        with self._torch.cuda.stream(stream):
            tensors = {
                name: self._torch.from_numpy(array).pin_memory().to(self._device, non_blocking=True)
                for name, array in arrays.items()
            }
            return tensors, stream.record_event()

    def _arrived(self, tensors: dict[str, Any], copied: Any) -> dict[str, Any]:
        here = self._torch.cuda.current_stream(self._device)
        here.wait_event(copied)
        for tensor in tensors.values():
            tensor.record_stream(here)  # its memory is not given to another copy before this stream is done with it
        return tensors
