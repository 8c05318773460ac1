"""Reads the tensors of a `.pth` file of the form before torch 1.6, without torch and without code from the file.

Such a file is six parts, one after the other: five pickles (a magic number, a version, facts of the machine, the
tensors' layout, the names of the storages) and then the numbers of each storage. The reader of the pickles knows four
names and makes arrays of numbers only. Any other name ends the reading with an error.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.errors import EncoderError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_TYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_COUNT = 8  # bytes of the count of numbers before those of a storage


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    count: int  # of numbers


@dataclass(frozen=True)
class _Layout:
    """A tensor as a part of its storage; offset and steps count numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the tensor as an array of its own; raise ValueError where it would reach outside its storage."""
        numbers = [self.offset, *self.shape, *self.steps]
        if len(self.shape) != len(self.steps) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError("a tensor has no layout")
        last = self.offset + sum((length - 1) * step for length, step in zip(self.shape, self.steps))
        if math.prod(self.shape) > len(values) or (0 not in self.shape and last >= len(values)):
            raise ValueError("a tensor is larger than its storage")
        steps = [step * values.itemsize for step in self.steps]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps).copy()


class _Names(OrderedDict[str, Any]):
    """A dictionary that takes nothing but its entries from a file."""

    def __setstate__(self, state: object) -> None:
        """Leave out the attributes that torch gives it."""


class _MakeLayout:
    """What a file calls to make a tensor; the file can change nothing about it."""

    __slots__ = ()

    def __call__(self, *parts: Any) -> _Layout:
        storage, offset, shape, steps = parts[:4]  # the rest is about gradients
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("a tensor has no storage")
        return _Layout(storage, offset, tuple(shape), tuple(steps))

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("the file changes how tensors are made")


class _Reader(pickle.Unpickler):
    """Reads pickles that hold numbers, texts, containers and tensors, and knows no other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _Names
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _MakeLayout()
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of weights")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *_ = pid
        if kind != "storage" or dtype not in _TYPES.values() or not isinstance(key, str) or not isinstance(count, int):
            raise pickle.UnpicklingError("it refers to something that is no storage")
        return _Storage(key, dtype, count)


def read_torch_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a `.pth` file by name, float32 or int64.

    Raises:
        EncoderError: the file cannot be read, is damaged, or holds something other than such tensors.
    """
    try:
        return _tensors(path.read_bytes())
    except OSError as error:
        raise EncoderError(f"the weights {path} cannot be read: {error}") from error
    except Exception as error:  # noqa: BLE001 - a damaged pickle may raise anything
        reason = str(error) or type(error).__name__
        raise EncoderError(f"{path} is not a file of weights of torch's first form: {reason}") from None


def _tensors(content: bytes) -> dict[str, NDArray[Any]]:
    file = BytesIO(content)
    if (_Reader(file).load(), _Reader(file).load()) != (_MAGIC, _VERSION):
        raise ValueError("it does not begin as such a file does")
    if not _Reader(file).load().get("little_endian"):
        raise ValueError("its numbers are not little-endian")
    layouts, keys = _Reader(file).load(), _Reader(file).load()
    if not isinstance(layouts, dict) or not all(isinstance(layout, _Layout) for layout in layouts.values()):
        raise TypeError("it is no dictionary of tensors")
    storages = {layout.storage.key: layout.storage for layout in layouts.values()}
    values = {key: _numbers(file, storages[key]) for key in keys}
    return {str(name): layout.of(values[layout.storage.key]) for name, layout in layouts.items()}


def _numbers(file: BytesIO, storage: _Storage) -> NDArray[Any]:
    """Read the numbers of one storage."""
    count = file.read(_COUNT)
    if len(count) != _COUNT or int.from_bytes(count, "little") != storage.count:
        raise ValueError("it ends too early, or a storage has another size than its tensor")
    dtype = np.dtype(storage.dtype)
    content = file.read(storage.count * dtype.itemsize)
    if len(content) != storage.count * dtype.itemsize:
        raise ValueError("it ends too early")
    return np.frombuffer(content, dtype)
