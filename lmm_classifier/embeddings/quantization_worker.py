"""Quantizes a model to 8 bits, in a process of its own. It is run by its path and imports nothing of the package.

The libraries log through the root logger, draw progress bars, and open a second Core of OpenVINO. None of that may
happen in the process of a user.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

Job = dict[str, Any]
_LEAST_OPSET = 13  # the first in which each channel has a scale of its own


def quantize_onnx(job: Job, inputs: Any) -> tuple[int, int]:
    """Quantize an ONNX model: activations to 8 bits, weights to 8 bits for each channel.

    Returns:
        How many layers have 8-bit weights now, and how many layers there are.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    name, nodes = _optimize(job)

    class Inputs(CalibrationDataReader):  # type: ignore[misc]
        """Gives the inputs one by one."""

        def __init__(self) -> None:
            self._rows: Iterator[Any] = iter(inputs)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next input, None at the end."""
            row = next(self._rows, None)
            return None if row is None else {name: row}

    layers = [place for place, node in enumerate(nodes) if node.op_type in ("Conv", "MatMul", "Gemm")]
    first = layers[min(round(job["float_fraction"] * len(layers)), len(layers) - 1)] if layers else 0
    quantize_static(
        job["optimized"],
        job["output"],
        Inputs(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        nodes_to_exclude=[node.name for node in nodes[:first]],
    )
    made = onnx.load(job["output"]).graph.node
    integers = {output for node in made if node.op_type == "DequantizeLinear" for output in node.output}
    weighted = [node for node in made if node.op_type in ("Conv", "MatMul", "Gemm")]
    return sum(set(node.input[:2]) <= integers for node in weighted), len(weighted)


def _optimize(job: Job) -> tuple[str, list[Any]]:
    """Write the model with batch normalization folded and with a name for each node; return its input and its nodes.

    Many models name no node. A layer is chosen by its name, so one without a name would stand for all.
    """
    import onnx
    import onnxruntime

    if job["has_weights_elsewhere"]:  # a model is optimized with the weights that it refers to in its own folder
        onnx.save(onnx.load(job["model"]), job["optimized"])
        job = {**job, "model": job["optimized"]}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    options.optimized_model_filepath = job["optimized"]
    session = onnxruntime.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
    model = onnx.load(job["optimized"])
    opset = max((used.version for used in model.opset_import if used.domain in ("", "ai.onnx")), default=0)
    if opset < _LEAST_OPSET:
        sys.exit(f"its opset is {opset}, expected {_LEAST_OPSET} or later; export it again, or quantize it to openvino")
    for number, node in enumerate(model.graph.node):
        node.name = f"node {number}"
    onnx.save(model, job["optimized"])
    return job["input"] or session.get_inputs()[0].name, list(model.graph.node)


def quantize_openvino(job: Job, inputs: Any) -> tuple[int, int]:
    """Quantize an OpenVINO or ONNX model by nncf; transformers are quantized by its recipe for them.

    Returns:
        As `quantize_onnx`.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # nothing is reported to anybody
    import nncf
    import openvino

    model = openvino.Core().read_model(job["model"])
    model.reshape(list(inputs[0].shape))
    kinds = {operation.get_type_name() for operation in model.get_ops()}
    transformer = bool(kinds & {"Softmax", "SoftMax", "ScaledDotProductAttention"})
    names = [layer.get_friendly_name() for layer in _layers(model)]
    first = names[: round(job["float_fraction"] * len(names))]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(list(inputs)),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=first, validate=False),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
    )
    openvino.save_model(quantized, job["output"], compress_to_fp16=False)
    made = _layers(quantized)
    return sum(any(map(_is_rounded, layer.inputs())) for layer in made), len(made)


def _layers(model: Any) -> list[Any]:
    """Return the operations of an OpenVINO model that have most of its work, in their order."""
    kinds = ("Convolution", "GroupConvolution", "MatMul")
    return [operation for operation in model.get_ordered_ops() if operation.get_type_name() in kinds]


def _is_rounded(value: Any) -> bool:
    """Return whether an input of a layer is made of 8-bit weights: stored as integers, or rounded to 256 levels."""
    operation, rounded = value.get_source_output().get_node(), False
    while operation.get_type_name() in ("FakeQuantize", "Reshape", "Convert", "Transpose", "Multiply", "Subtract"):
        rounded |= operation.get_type_name() == "FakeQuantize"
        operation = operation.input_value(0).get_node()
    if operation.get_type_name() != "Constant":
        return False  # activations
    return rounded or str(operation.get_element_type().get_type_name()) in ("i8", "u8")


def main() -> None:
    """Read the job from the first argument and do it."""
    job: Job = json.loads(sys.argv[1])
    sys.path[:] = job["path"]
    import numpy as np

    inputs = np.load(job["inputs"], mmap_mode="r")
    quantized, layers = {"onnx": quantize_onnx, "openvino": quantize_openvino}[job["form"]](job, inputs)
    with open(job["result"], "w", encoding="ascii") as file:  # noqa: PTH123 - nothing else needs pathlib here
        json.dump([quantized, layers], file)


if __name__ == "__main__":
    main()
