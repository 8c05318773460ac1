"""A tiny encoder in ONNX: three random convolutions whose features tell drawn patterns apart. It needs no torch. As in
many models, no node has a name.
"""

import numpy as np

DESCRIPTION = "size: 32\nresample: bilinear\nmean: [0.5, 0.5, 0.5]\nstd: [0.5, 0.5, 0.5]\n"


def write_tiny_onnx(folder, seed=0):
    """Write `tiny.onnx` and its description to a folder; return the model."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    shapes = {"w1": (24, 3, 5, 5), "b1": (24,), "w2": (24, 1, 3, 3), "b2": (24,)}
    shapes |= {"w3": (48, 24, 1, 1), "b3": (48,)}
    values = {name: (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1)) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["pixels", "w1", "b1"], ["c1"], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], strides=[2, 2], group=24),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"]),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("GlobalAveragePool", ["r3"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embeddings"]),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, 32, 32])
    vectors = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 48])
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "tiny", [pixels], [vectors], constants)
    model = folder / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    model.with_suffix(".yaml").write_text(DESCRIPTION, encoding="utf-8")
    return model
