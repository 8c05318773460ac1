"""Names of the files in which an ONNX model keeps its weights, read from the model without the `onnx` library.

An ONNX file is a protobuf message of numbered fields. Only the fields that lead to tensors are followed, and weights
inside the file are skipped, so that a file of gigabytes is read in milliseconds.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from lmm_classifier.core.errors import EncoderError

_DEEPEST = 64  # nested graphs; a real model has a few
_Data = bytes | mmap.mmap

# message -> number of a field that leads to tensors -> message in it, as in onnx.proto
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2  # fields of an entry


def external_files(model: Path) -> list[str]:
    """Return the locations of external data, relative to the folder of the model, ascending.

    Raises EncoderError for a file that is no message of protobuf: weights that are not found would not be identified.
    """
    if not model.stat().st_size:
        raise EncoderError(f"{model} is empty, expected an ONNX model")
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return sorted(set(_locations(data, 0, len(data), "model", _DEEPEST)))
        except (IndexError, ValueError) as error:
            reason = "it ends too early" if isinstance(error, IndexError) else error
            raise EncoderError(f"{model} is not a readable ONNX model: {reason}; export it again") from None


def _locations(data: _Data, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    if not depth:
        raise ValueError("nested too deeply")
    for number, first, last in _fields(data, start, end):
        inner = _FIELDS[message].get(number)
        if inner == "entry":
            entry = {field: bytes(data[begin:stop]) for field, begin, stop in _fields(data, first, last)}
            if entry.get(_KEY) == b"location":
                yield entry.get(_VALUE, b"").decode("utf-8", "surrogateescape")
        elif inner is not None:
            yield from _locations(data, first, last, inner, depth - 1)


def _fields(data: _Data, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, the start and the end of each field that holds bytes; raise ValueError for other data."""
    depth = 0  # of groups
    while place < end:
        tag, place = _varint(data, place)
        match tag & 7:  # how the value is stored
            case 0:  # a number of variable length
                _, place = _varint(data, place)
            case 1:
                place += 8
            case 2:  # bytes, with their length before them
                length, place = _varint(data, place)
                if place + length > end:
                    raise ValueError("a field ends behind its message")
                if not depth:
                    yield tag >> 3, place, place + length
                place += length
            case 3 | 4:  # the start and the end of a group, which no field of a model is; its fields are skipped
                depth += 1 if tag & 7 == 3 else -1
            case 5:
                place += 4
            case kind:
                raise ValueError(f"a field of kind {kind}")


def _varint(data: _Data, place: int) -> tuple[int, int]:
    """Return a number of variable length, and the place after it."""
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
