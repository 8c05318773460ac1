"""Bodies of the Open Inference Protocol: images in one tensor of bytes, in JSON as base64 or in binary after it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lmm_classifier.server.problems import ProblemError

IMAGE_TENSOR = "image"
_LENGTH = 4  # bytes before each element, which say how long it is
_MAX_HEADER = 1_000_000  # bytes of JSON before binary data

Size = Annotated[int, Field(ge=0, le=2**40)]


class _Lenient(BaseModel):
    """A part of a request whose unknown members are passed over, as the protocol asks."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True)


class TensorParameters(_Lenient):
    """How a tensor is sent."""

    binary_data_size: Size | None = None


class InputTensor(_Lenient):
    """A tensor of a request."""

    name: str
    datatype: str
    shape: Annotated[list[Size], Field(max_length=8)]
    parameters: TensorParameters = TensorParameters()
    data: Annotated[list[str], Field(max_length=1000)] | None = None


class RequestedOutput(_Lenient):
    """An output that a client asks for."""

    name: str


class InferenceRequest(_Lenient):
    """The JSON of a request."""

    id: Annotated[str, Field(max_length=1000)] | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=16)] = []


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for besides its images."""

    id: str | None
    outputs: Sequence[str]  # names


def read_inference(body: bytes, header_length: str | None, max_images: int) -> tuple[Wanted, list[bytes]]:
    """Return what a request asks for, and the bytes of its images.

    Args:
        body: JSON, then the binary data where there is some.
        header_length: value of `Inference-Header-Content-Length`, the bytes of the JSON; None where all is JSON.
        max_images: how many there may be.

    Raises:
        ProblemError: the body is malformed.
    """
    end = len(body) if header_length is None else _length(header_length, min(len(body), _MAX_HEADER))
    try:
        asked = InferenceRequest.model_validate_json(body[:end])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _malformed(f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}.") from None
    (tensor,) = asked.inputs
    if (tensor.name, tensor.datatype) != (IMAGE_TENSOR, "BYTES"):
        raise _malformed(f"Expected one input `{IMAGE_TENSOR}` of the datatype BYTES.")
    images = _images(tensor, body[end:], max_images)
    count = 1
    for size in tensor.shape:
        count *= size
    if count != len(images):
        raise _malformed(f"The shape has {count} elements, but {len(images)} came.")
    if not 1 <= len(images) <= max_images:
        raise _malformed(f"Expected 1 to {max_images} images, got {len(images)}.")
    return Wanted(asked.id, [output.name for output in asked.outputs]), images


def _images(tensor: InputTensor, binary: bytes, most: int) -> list[bytes]:
    size = tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise _malformed("Expected either `data`, or the parameter `binary_data_size`.")
    if len(binary) != (size or 0):
        raise _malformed(f"Expected {size or 0} bytes after the JSON, got {len(binary)}.")
    return _elements(binary, most) if tensor.data is None else _decoded(tensor.data)


def _elements(binary: bytes, most: int) -> list[bytes]:
    """Return the elements of a tensor, one more than `most` at most; each comes after its length in 4 bytes."""
    elements, start = list[bytes](), 0
    while start < len(binary) and len(elements) <= most:
        data = start + _LENGTH
        end = data + int.from_bytes(binary[start:data], "little")
        if end > len(binary):
            raise _malformed("The binary data ends within an element.")
        elements.append(binary[data:end])
        start = end
    return elements


def _decoded(texts: Sequence[str]) -> list[bytes]:
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError):
        raise _malformed("The elements of `data` must be base64.") from None


def _length(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) <= most):
        raise _malformed(f"Inference-Header-Content-Length must be a number up to {most}, got {text[:40]!r}.")
    return int(text)


def _malformed(detail: str) -> ProblemError:
    return ProblemError("malformed-request", detail)


def inference_schemas() -> dict[str, Any]:
    """Return the JSON Schema of the bodies by their names."""
    whole = InferenceRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**whole.pop("$defs"), "InferenceRequest": whole}
