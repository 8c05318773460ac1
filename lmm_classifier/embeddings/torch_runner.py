"""Run a torch model over preprocessed images in batches of one shape, with copies that overlap with the computation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.devices import free_memory, is_out_of_memory
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.protocols import Preprocessed

logger: logging.Logger = logging.getLogger(__name__)

_EXTRA = "siglip"
_TOKENS = 32_768  # patches in one forward pass: enough for the matrix products to fill a large GPU
_MPS_BATCH = 16
_SLOTS = 2  # batches on the device: one is copied while another is computed

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """How forward passes run: images in each and threads on a CPU (0: automatic), and whether torch compiles them."""

    batch: int = 0
    threads: int = 0
    compiled: bool = False


AS_CHOSEN = ForwardOptions()


class BatchedTorchModel:
    """Applies a function of torch tensors, `features(**inputs) -> (b, dim)`, to preprocessed images.

    Batches are padded to one fixed shape, so that a row does not depend on its batch. `forward.batch` 0 chooses the
    size: 1 on a CPU, where larger batches gain next to nothing; on CUDA as many images of `tokens` patches as fill the
    GPU. On CUDA, batches are gathered in pinned memory and copied on a separate stream while the former batch is
    computed.

    A row has the same bits as long as `batch`, the device and the libraries are the same. If a batch does not fit in
    the memory of the device, the size is halved for all later ones, and rows may change in their last bits.
    """

    def __init__(
        self, features: Callable[..., Any], device: str, tokens: int, forward: ForwardOptions = AS_CHOSEN
    ) -> None:
        self._torch = import_optional("torch", _EXTRA)
        self._features = self._torch.compile(features, dynamic=False) if forward.compiled else features
        self._device = device
        self._on_cuda = device.startswith("cuda")
        chosen = max(8, _TOKENS // tokens // 8 * 8) if self._on_cuda else _MPS_BATCH if device == "mps" else 1
        self.batch: int = forward.batch or chosen
        self._turn = ForkSafeLock()  # one batch size, one device

    def __call__(self, preprocessed: Sequence[Preprocessed], dim: int) -> Float32Array:
        """Return the features (n, dim) in float32 of preprocessed images, in order."""
        with self._turn:
            while (rows := self._attempt(preprocessed, dim)) is None:
                if self.batch == 1:
                    raise EncoderError(f"the memory of {self._device} is too small for one image")
                self.batch //= 2
                logger.warning("the memory of %s is too small: %d images at a time", self._device, self.batch)
            return rows

    def _attempt(self, preprocessed: Sequence[Preprocessed], dim: int) -> Float32Array | None:
        """Return the rows; None where the memory was too small, after all that the attempt held was freed."""
        try:
            return self._computed(preprocessed, dim, self.batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # the traceback is gone here, and with it the activations of the failed pass
        free_memory(self._torch)
        return None

    def _computed(self, preprocessed: Sequence[Preprocessed], dim: int, batch: int) -> Float32Array:
        rows = self._torch.empty((len(preprocessed), dim), dtype=self._torch.float32, device=self._device)
        starts = range(0, len(preprocessed), batch)
        batches = (self._gathered(preprocessed[start : start + batch], batch) for start in starts)
        with self._torch.inference_mode():
            for start, inputs in zip(starts, self._on_device(batches)):
                part, features = rows[start : start + batch], self._features(**inputs)
                if features.shape != (batch, dim):
                    raise EncoderError(f"the model gives a {tuple(features.shape)}, expected {(batch, dim)}")
                part.copy_(features[: len(part)])
        result: Float32Array = rows.cpu().numpy()
        return result

    def _gathered(self, part: Sequence[Preprocessed], batch: int) -> Arrays:
        """Stack one batch of arrays (batch, ...); the last image is repeated where there are too few."""
        padded = [*part, *[part[-1]] * (batch - len(part))]
        if isinstance(padded[0], Mapping):
            return {name: np.stack([np.asarray(image[name]) for image in padded]) for name in padded[0]}
        return {"pixels": np.stack([np.asarray(image) for image in padded])}

    def _on_device(self, batches: Iterable[Arrays]) -> Iterator[dict[str, Any]]:
        """Yield the batches as tensors of the device; on CUDA the next batch is copied while one is computed."""
        if not self._on_cuda:
            for arrays in batches:
                yield {name: self._torch.from_numpy(array).to(self._device) for name, array in arrays.items()}
            return
        computed: list[Any] = []
        for arrays in batches:  # a pass returns before it is computed, so this one is gathered in the meantime
            if len(computed) == _SLOTS:
                computed.pop(0).synchronize()
            yield self._arrived(*self._send(arrays, self._copies))
            computed.append(self._torch.cuda.current_stream(self._device).record_event())

    @cached_property
    def _copies(self) -> Any:
        """The stream of the copies: one, since torch keeps unused memory for each stream apart."""
        return self._torch.cuda.Stream(self._device)

    def _send(self, arrays: Arrays, stream: Any) -> tuple[dict[str, Any], Any]:
        """Start the copy of a batch. Pinned memory comes from torch's cache, which waits for copies from it."""
        with self._torch.cuda.stream(stream):
            tensors = {
                name: self._torch.from_numpy(array).pin_memory().to(self._device, non_blocking=True)
                for name, array in arrays.items()
            }
            return tensors, stream.record_event()

    def _arrived(self, tensors: dict[str, Any], copied: Any) -> dict[str, Any]:
        stream = self._torch.cuda.current_stream(self._device)
        stream.wait_event(copied)
        for tensor in tensors.values():
            tensor.record_stream(stream)  # its memory is not reused for a copy before this stream has used it
        return tensors
