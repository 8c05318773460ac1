"""Write the ONNX model of `lmm_classifier.neighbors.int8`, one product of 8-bit integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lmm_classifier.neighbors.int8 import COUNT_PLACEHOLDER, WIDTH_PLACEHOLDER

PATH = Path(__file__).parent.parent / "lmm_classifier/neighbors/int8_matmul.onnx"


def make_model() -> onnx.ModelProto:
    """Return the model `products = MatMulInteger(queries, rows, 128)`.

    ONNX Runtime arranges `rows` for the processor only if they are a constant, and a constant has no symbolic size.
    So its two sizes are placeholders.
    """
    rows = TensorProto(
        name="rows",
        data_type=TensorProto.INT8,
        dims=[WIDTH_PLACEHOLDER, COUNT_PLACEHOLDER],
        data_location=TensorProto.EXTERNAL,
    )
    rows.external_data.add(key="location", value="given")  # the session gets the numbers
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["queries", "rows", "zero_point"], ["products"])],
        "search",
        [helper.make_tensor_value_info("queries", TensorProto.UINT8, ["queries", "width"])],
        [helper.make_tensor_value_info("products", TensorProto.INT32, ["queries", "rows"])],
        [rows, numpy_helper.from_array(np.array(128, np.uint8), "zero_point")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])


if __name__ == "__main__":
    PATH.write_bytes(make_model().SerializeToString(deterministic=True))
