"""The identity of an exported model is of every file that makes a vector."""

import pytest

from lmm_classifier.embeddings.exported_model import ExportedModel, model_digest
from tests.conftest import MOBILENET
from tests.embeddings.test_onnx_external_data import graph, onnx, save, tensor


@pytest.fixture
def model(tmp_path):
    """A model of which the weights lie in two files of unusual names."""
    tensors = [tensor("a", "a file.weights"), tensor("b", "deep/b")]
    (tmp_path / "a file.weights").write_bytes(bytes(3_000_000))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b").write_bytes(bytes(64))
    (tmp_path / "model.yaml").write_text(MOBILENET)
    return save(tmp_path / "model.onnx", onnx.helper.make_model(graph("g", tensors=tensors)))


def fingerprint(model):
    return ExportedModel.find(model, ".onnx").fingerprint("onnx", 4, "float32")


@pytest.mark.parametrize(("name", "place"), [("a file.weights", 1_500_000), ("deep/b", 63)])
def test_a_changed_bit_of_external_data_is_another_encoder(model, name, place):
    """Whatever the file is called, and wherever the bit is."""
    before, file = fingerprint(model), model.parent / name
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    assert fingerprint(model).differences(before) == ["revision"]
    file.unlink()
    assert fingerprint(model).space_id != before.space_id


@pytest.mark.parametrize("line", ["mean: [0.1, 0.5, 0.5]", "resample: nearest", "input: other", "output: other"])
def test_a_changed_description_is_another_encoder(model, line):
    """Every key that decides what the model computes counts."""
    before = fingerprint(model)
    key = line.partition(":")[0]
    lines = [text for text in MOBILENET.splitlines() if not text.startswith(f"{key}:")]
    (model.parent / "model.yaml").write_text("\n".join([*lines, line]))
    assert fingerprint(model).differences(before) == ["preprocessing"]


def test_the_weights_of_an_openvino_model_count(tmp_path):
    """They lie next to it in a `.bin` file."""
    (tmp_path / "m.xml").write_text("<net/>")
    (tmp_path / "m.bin").write_bytes(bytes(100))
    before = model_digest(tmp_path / "m.xml")
    (tmp_path / "m.bin").write_bytes(bytes(99) + b"\1")
    assert model_digest(tmp_path / "m.xml") != before
