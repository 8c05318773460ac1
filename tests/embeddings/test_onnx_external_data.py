"""External data of ONNX models is found wherever a model keeps it, as the onnx library finds it."""

import random
from contextlib import suppress

import numpy as np
import pytest

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.embeddings.onnx_external_data import external_files

onnx = pytest.importorskip("onnx", reason="the models are made with the onnx library")


def tensor(name, location):
    made = onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), name)
    if location is not None:
        onnx.external_data_helper.set_external_data(made, location)
        made.ClearField("raw_data")
    return made


def save(path, model):
    path.write_bytes(model.SerializeToString())
    return path


def graph(name, nodes=(), tensors=()):
    return onnx.helper.make_graph(list(nodes), name, [], [], initializer=list(tensors))


def test_every_place_of_a_tensor_is_looked_at(tmp_path):
    """Initializers, constants, branches, functions and sparse tensors; files of any name, in folders too."""
    branch = graph("branch", tensors=[tensor("inner", "folder/inner.bin")])
    nodes = [
        onnx.helper.make_node("If", ["condition"], [], then_branch=branch, else_branch=graph("else")),
        onnx.helper.make_node("Constant", [], ["c"], value=tensor("constant", "constant.data")),
    ]
    main = graph("main", nodes, [tensor("a", "weights"), tensor("b", "weights"), tensor("own", None)])
    main.sparse_initializer.add().values.CopyFrom(tensor("sparse", "sparse values"))
    function = onnx.helper.make_function(
        "domain", "f", [], ["c"],
        [onnx.helper.make_node("Constant", [], ["c"], value=tensor("in function", "ünïcode.weights"))],
        [onnx.helper.make_opsetid("", 20)],
    )  # fmt: skip
    model = onnx.helper.make_model(main, functions=[function])
    expected = ["constant.data", "folder/inner.bin", "sparse values", "weights", "ünïcode.weights"]
    assert external_files(save(tmp_path / "model.onnx", model)) == expected


def test_a_model_with_its_weights_inside_has_none(tmp_path, mobilenet):
    """A file that is no model is refused, because its weights cannot be identified."""
    assert external_files(mobilenet) == []
    for content in (b"", b"nonsense", b"\xff" * 100, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(EncoderError, match=r"model\.onnx is (empty|not a readable ONNX model)"):
            external_files(tmp_path / "model.onnx")


def test_a_field_that_protobuf_skips_hides_no_weights(tmp_path):
    """The runtime skips a group, which no model has, and reads what follows."""
    model = onnx.helper.make_model(graph("g", tensors=[tensor("a", "x.data")]))
    group = bytes([99 << 3 & 127 | 128 | 3, 99 >> 4, 0x0A, 3, *b"abc", 99 << 3 & 127 | 128 | 4, 99 >> 4])
    (tmp_path / "model.onnx").write_bytes(group + model.SerializeToString())
    assert onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.name == "g"
    assert external_files(tmp_path / "model.onnx") == ["x.data"]


def test_damaged_models_give_names_or_are_refused(tmp_path):
    """Of 500 mutations none raises anything else."""
    sound = save(
        tmp_path / "model.onnx", onnx.helper.make_model(graph("g", tensors=[tensor("a", "x.data")]))
    ).read_bytes()
    rng = random.Random(0)
    for _ in range(500):
        data = bytearray(sound)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "model.onnx").write_bytes(data[: rng.choice((None, rng.randrange(1, len(data))))])
        with suppress(EncoderError):
            assert isinstance(external_files(tmp_path / "model.onnx"), list)
