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


def quantize_onnx(job: Job, inputs: Any) -> None:
    """Quantize an ONNX model: activations to 8 bits, weights to 8 bits for each channel."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    options.optimized_model_filepath = job["optimized"]  # batch normalization is folded, or it would be quantized
    session = onnxruntime.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
    name = job["input"] or session.get_inputs()[0].name

    class Inputs(CalibrationDataReader):  # type: ignore[misc]
        """Gives the inputs one by one."""

        def __init__(self) -> None:
            self._rows: Iterator[Any] = iter(inputs)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next input, None at the end."""
            row = next(self._rows, None)
            return None if row is None else {name: row}

    nodes = onnx.load(job["optimized"], load_external_data=False).graph.node
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


def quantize_openvino(job: Job, inputs: Any) -> None:
    """Quantize an OpenVINO or ONNX model by nncf; transformers are quantized by its recipe for them."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # nothing is reported to anybody
    import nncf
    import openvino

    model = openvino.Core().read_model(job["model"])
    model.reshape(list(inputs[0].shape))
    kinds = {operation.get_type_name() for operation in model.get_ops()}
    transformer = bool(kinds & {"Softmax", "SoftMax", "ScaledDotProductAttention"})
    layers = [
        operation.get_friendly_name()
        for operation in model.get_ordered_ops()
        if operation.get_type_name() in ("Convolution", "GroupConvolution", "MatMul")
    ]
    first = layers[: round(job["float_fraction"] * len(layers))]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(list(inputs)),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(names=first, validate=False),
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
    )
    openvino.save_model(quantized, job["output"], compress_to_fp16=False)


def main() -> None:
    """Read the job from the first argument and do it."""
    job: Job = json.loads(sys.argv[1])
    sys.path[:] = job["path"]
    import numpy as np

    inputs = np.load(job["inputs"], mmap_mode="r")
    {"onnx": quantize_onnx, "openvino": quantize_openvino}[job["form"]](job, inputs)


if __name__ == "__main__":
    main()
