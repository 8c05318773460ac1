"""The networks EfficientNet-Lite0 and -Lite2 up to their pooled features, written as ONNX models.

Shapes come from the weights. What the weights do not say is here: how often each stage repeats its block, and where the
image is halved. Batch normalization is folded into the convolution before it, and the scaling of pixels into the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.optional_imports import import_optional

_EXTRA = "lite"
_STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each stage
_EPSILON = 1e-3  # of batch normalization
_OPSET, _IR_VERSION = 17, 8  # ONNX Runtime 1.20 reads both
MEAN, SCALE = 127.0, 128.0  # of pixels, 0 to 255
DIM = 1280  # numbers of a vector

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Network:
    """One size of the network."""

    name: str
    side: int  # of the input in pixels
    repeats: tuple[int, ...]  # blocks of each stage

    def strides(self) -> list[int]:
        """Return the stride of each block."""
        return [
            stride if first == 0 else 1
            for stride, repeats in zip(_STRIDES, self.repeats, strict=True)
            for first in range(repeats)
        ]


LITE0 = Network("efficientnet-lite0", 224, (1, 2, 2, 3, 3, 4, 1))
LITE2 = Network("efficientnet-lite2", 260, (1, 3, 3, 4, 4, 5, 1))


def write_onnx(network: Network, weights: Weights) -> bytes:
    """Return the model as ONNX: bytes (n, side, side, 3) in RGB become vectors (n, 1280).

    Raises:
        KeyError: a tensor is missing.
        MissingExtraError: the library `onnx` is not installed.
    """
    graph = _Graph(weights, network.side)
    graph.begin()
    graph.convolve("_conv_stem", "_bn0", stride=2)
    for number, stride in enumerate(network.strides()):
        graph.block(f"_blocks.{number}.", stride)
    graph.convolve("_conv_head", "_bn1")
    graph.pool()
    return graph.serialized(network.name)


class _Graph:
    """The nodes of a model, added in their order; `_last` is the name of the values that the next node takes."""

    def __init__(self, weights: Weights, side: int) -> None:
        self._onnx = import_optional("onnx", _EXTRA)
        self._weights, self._side = weights, side
        self._input = side
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._last = "pixels"

    def begin(self) -> None:
        """Subtract the mean of the pixels; the first convolution divides them."""
        self._node("Cast", "numbers", to=self._onnx.TensorProto.FLOAT)
        self._node("Sub", "centered", self._constant("mean", MEAN))
        self._node("Transpose", "planes", perm=[0, 3, 1, 2])
        for name, value in (("zero", 0.0), ("six", 6.0)):
            self._constant(name, value)

    def block(self, prefix: str, stride: int) -> None:
        """Add an inverted bottleneck: widen, filter each channel, narrow; add the input where the shape is the same."""
        start = self._last
        if f"{prefix}_expand_conv.weight" in self._weights:
            self.convolve(f"{prefix}_expand_conv", f"{prefix}_bn0")
        self.convolve(f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride)
        self.convolve(f"{prefix}_project_conv", f"{prefix}_bn2", clipped=False)
        first = "_expand_conv" if f"{prefix}_expand_conv.weight" in self._weights else "_depthwise_conv"
        channels = self._weights[f"{prefix}{first}.weight"].shape[first == "_expand_conv"]
        if stride == 1 and channels == len(self._weights[f"{prefix}_project_conv.weight"]):
            self._node("Add", f"{prefix}sum", start)

    def convolve(self, name: str, normalization: str, stride: int = 1, clipped: bool = True) -> None:
        """Add a convolution with its batch normalization folded in, and a clip to 0 to 6 where `clipped`."""
        kernel = self._weights[f"{name}.weight"].astype(np.float64)
        gain, shift, mean, variance = (
            self._weights[f"{normalization}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / np.sqrt(variance + _EPSILON)
        kernel *= gain[:, None, None, None]
        if self._last == "planes":
            kernel /= SCALE
        size, groups = kernel.shape[2], len(kernel) if name.endswith("_depthwise_conv") else 1
        halved = -(-self._side // stride)
        missing = max((halved - 1) * stride + size - self._side, 0)  # the odd row and column are at the end
        pads = [missing // 2, missing // 2, missing - missing // 2, missing - missing // 2]
        tensors = self._constant(f"{name}.weight", kernel), self._constant(f"{name}.bias", shift - mean * gain)
        self._node("Conv", f"{name}.out", *tensors, group=groups, strides=[stride, stride], pads=pads)
        if clipped:
            self._node("Clip", f"{name}.clipped", "zero", "six")
        self._side = halved

    def pool(self) -> None:
        """Average the features over the image."""
        self._node("GlobalAveragePool", "pooled")
        self._node("Flatten", "embeddings", axis=1)

    def serialized(self, name: str) -> bytes:
        """Return the model as bytes; the same weights give the same bytes."""
        helper, types = self._onnx.helper, self._onnx.TensorProto
        pixels = helper.make_tensor_value_info("pixels", types.UINT8, ["batch", self._input, self._input, 3])
        vectors = helper.make_tensor_value_info("embeddings", types.FLOAT, ["batch", DIM])
        graph = helper.make_graph(self._nodes, name, [pixels], [vectors], self._constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="lmm-classifier")
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _node(self, kind: str, output: str, *inputs: str, **attributes: Any) -> None:
        self._nodes.append(self._onnx.helper.make_node(kind, [self._last, *inputs], [output], output, **attributes))
        self._last = output

    def _constant(self, name: str, value: float | NDArray[np.float64]) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name
