"""8-bit models are made in a process of their own, and have vectors similar to those they come from."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from lmm_classifier.core.errors import EncoderError, MissingExtraError
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.onnx import OnnxEncoder
from lmm_classifier.embeddings.openvino import openvino_core
from lmm_classifier.embeddings.quantization import QuantizedLayers, quantize
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.testing import check_encoder
from tests.helpers.hidden_libraries import Hidden
from tests.helpers.tiny_onnx import write_tiny_onnx

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
FORMS = ["onnx", pytest.param("openvino", marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small encoder of an ONNX model."""
    return OnnxEncoder(write_tiny_onnx(tmp_path_factory.mktemp("tiny")), threads=2)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [draw(KNOWN[number % len(KNOWN)], rng, 48) for number in range(24)]


@pytest.fixture(scope="module")
def quantized(encoder, images, tmp_path_factory):
    """Return a function that quantizes the encoder to a form, once each, and returns the folder."""
    folders = {}

    def make(form):
        if form == "openvino":
            pytest.importorskip("openvino", reason="openvino is not installed")
            pytest.importorskip("nncf", reason="nncf is not installed")
        if form not in folders:
            folders[form] = tmp_path_factory.mktemp(form)
            layers = quantize(encoder, [encoder.preprocess(image) for image in images], form, folders[form])
            assert layers == QuantizedLayers(3, 3)
        return folders[form]

    return make


@pytest.mark.parametrize("form", FORMS)
def test_vectors_are_similar_and_the_fingerprint_differs(encoder, images, quantized, form):
    """The numbers change, so no index of the encoder is used with them; all rules of an encoder hold."""
    made = open_encoder(EncoderConfig(backend=form, model=str(quantized(form)), threads=2))
    own, new = encode_images(encoder, images), encode_images(made, images)
    cosines = (own * new).sum(axis=1)
    assert 0.99 < cosines.min() < 1
    assert np.abs(own - new).max() > 1e-4
    fingerprint = made.fingerprint
    assert (fingerprint.backend, fingerprint.model) == (form, "tiny.onnx, 8-bit")
    assert fingerprint.preprocessing == encoder.fingerprint.preprocessing
    assert fingerprint != encoder.fingerprint
    check_encoder(made)


def test_weights_and_activations_have_8_bits(quantized):
    """Each convolution takes and gives integers, its weights have a scale for each channel."""
    import onnx

    model = onnx.load(quantized("onnx") / "model.onnx")
    kinds = [node.op_type for node in model.graph.node]
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]
    scales = [tensor for tensor in model.graph.initializer if list(tensor.dims) in ([24], [48])]
    assert {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in weights} == {"INT8"}
    assert kinds.count("QuantizeLinear") >= 3
    assert len(scales) >= 2


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_the_first_layers_can_stay_as_they_are(encoder, images, quantized, tmp_path, form):
    """Then the vectors are more similar."""
    whole = open_encoder(EncoderConfig(backend=form, model=str(quantized(form))))
    layers = quantize(encoder, [encoder.preprocess(image) for image in images], form, tmp_path, 0.5)
    assert layers == QuantizedLayers(1, 3)
    part = open_encoder(EncoderConfig(backend=form, model=str(tmp_path)))
    own = encode_images(encoder, images)
    near, far = ((own * encode_images(made, images)).sum(axis=1).mean() for made in (part, whole))
    assert far < near < 1
    assert part.fingerprint != whole.fingerprint


def test_a_changed_model_is_refused(quantized, tmp_path):
    """It has a digest, as every export."""
    folder = shutil.copytree(quantized("onnx"), tmp_path / "copy")
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(EncoderError, match="changed since"):
        OnnxEncoder(folder)


@pytest.mark.long
def test_a_model_in_which_nothing_is_quantized(images, tmp_path):
    """A model that is still float32 must not count as one of 8 bits whose answers are all the same."""
    import onnx
    from onnx import TensorProto, helper

    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 32, 32])
    vectors = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, 3072])
    graph = helper.make_graph([helper.make_node("Flatten", ["pixels"], ["embeddings"])], "flat", [pixels], [vectors])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    (tmp_path / "a.yaml").write_text("size: 32", encoding="utf-8")
    encoder, folder = OnnxEncoder(tmp_path / "a.onnx"), tmp_path / "out"
    folder.mkdir()
    with pytest.raises(EncoderError, match=r"a\.onnx: none of its 0 layers can be quantized"):
        quantize(encoder, [encoder.preprocess(image) for image in images], "onnx", folder)


def test_an_8_bit_model_is_not_quantized_again(quantized, images, tmp_path):
    """The message says which one to take."""
    made = OnnxEncoder(quantized("onnx"))
    with pytest.raises(EncoderError, match="has 8 bits already: quantize the encoder that it was made from"):
        quantize(made, [made.preprocess(images[0])], "onnx", tmp_path)


@pytest.mark.long
def test_a_model_that_cannot_be_quantized(encoder, images, tmp_path):
    """The last line of the library's message is passed on, and nothing is left."""
    folder = tmp_path / "out"
    folder.mkdir()
    model = write_tiny_onnx(tmp_path)
    broken = OnnxEncoder(model)
    model.write_bytes(b"\x08\x08")  # an ONNX model without a graph
    with pytest.raises(EncoderError, match=r"tiny\.onnx cannot be quantized to 8 bits: \S"):
        quantize(broken, [broken.preprocess(images[0])], "onnx", folder)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("form", "library"), [("onnx", "onnx"), ("openvino", "nncf"), ("openvino", "openvino")])
def test_a_missing_library_names_its_extra(encoder, images, tmp_path, monkeypatch, form, library):
    """The message has the command that installs it."""
    monkeypatch.setattr(sys, "meta_path", [Hidden([library]), *sys.meta_path])
    monkeypatch.delitem(sys.modules, library, raising=False)
    extra = "openvino" if library == "openvino" else "int8"
    with pytest.raises(MissingExtraError, match=rf"pip install 'lmm-classifier\[{extra}\]'"):
        quantize(encoder, [encoder.preprocess(images[0])], form, tmp_path)


@pytest.mark.long
def test_an_openvino_model_stays_one(encoder, images, tmp_path):
    """It can be quantized to OpenVINO, but not be written as ONNX."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    pytest.importorskip("nncf", reason="nncf is not installed")
    model = openvino_core().read_model(encoder.exported.model)
    openvino.save_model(model, tmp_path / "tiny.xml", compress_to_fp16=False)
    shutil.copy(encoder.exported.model.with_suffix(".yaml"), tmp_path)
    plain = open_encoder(EncoderConfig(backend="openvino", model=str(tmp_path / "tiny.xml"), dtype="float32"))
    shown = [plain.preprocess(image) for image in images]
    (tmp_path / "out").mkdir()
    with pytest.raises(EncoderError, match="is an OpenVINO model: quantize it to openvino"):
        quantize(plain, shown, "onnx", tmp_path / "out")
    assert quantize(plain, shown, "openvino", tmp_path / "out") == QuantizedLayers(3, 3)
    made = open_encoder(EncoderConfig(backend="openvino", model=str(tmp_path / "out")))
    assert 0.99 < (encode_images(made, images) * encode_images(plain, images)).sum(axis=1).min() < 1


@pytest.mark.long
def test_nothing_of_it_happens_in_this_process(tmp_path):
    """The libraries that log and open a second Core are not imported, and the root logger gets no handler."""
    pytest.importorskip("nncf", reason="nncf is not installed")
    code = (
        "import logging, sys; from pathlib import Path; from PIL import Image\n"
        "from lmm_classifier.embeddings.onnx import OnnxEncoder\n"
        "from lmm_classifier.embeddings.quantization import quantize\n"
        "from tests.helpers.tiny_onnx import write_tiny_onnx\n"
        "encoder = OnnxEncoder(write_tiny_onnx(Path(sys.argv[1])))\n"
        "images = [encoder.preprocess(Image.effect_noise((32, 32), 9).convert('RGB')) for _ in range(8)]\n"
        "for form in ('onnx', 'openvino'):\n"
        "    folder = Path(sys.argv[1]) / form; folder.mkdir(); quantize(encoder, images, form, folder)\n"
        "assert not {'torch', 'nncf', 'openvino', 'onnxruntime.quantization'} & set(sys.modules)\n"
        "assert not logging.getLogger().handlers\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def rewritten(encoder, folder, change, **options):
    """Write the model of an encoder again after a change, with its description."""
    import onnx

    model = onnx.load(encoder.exported.model)
    change(model)
    onnx.save(model, folder / "model.onnx", **options)
    shutil.copy(encoder.exported.model.with_suffix(".yaml"), folder / "model.yaml")
    return OnnxEncoder(folder / "model.onnx", threads=1)


@pytest.mark.long
def test_weights_in_a_file_of_their_own(encoder, images, tmp_path):
    """As exports of large models have them; the 8-bit model holds its weights itself."""
    options = {"save_as_external_data": True, "location": "model.data", "size_threshold": 0}
    apart = rewritten(encoder, tmp_path, lambda model: None, **options)
    assert (tmp_path / "model.data").is_file()
    (tmp_path / "out").mkdir()
    layers = quantize(apart, [apart.preprocess(image) for image in images[:2]], "onnx", tmp_path / "out")
    assert layers == QuantizedLayers(3, 3)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["model.onnx", "model.yaml"]


@pytest.mark.long
def test_a_model_of_an_old_opset_says_what_to_do(encoder, images, tmp_path):
    """Scales for each channel came later; without the check, the 8-bit model could not be opened."""
    old = rewritten(encoder, tmp_path, lambda model: setattr(model.opset_import[0], "version", 11))
    (tmp_path / "out").mkdir()
    with pytest.raises(EncoderError, match="8 bits: its opset is 11, expected 13 or later; export it again, or quan"):
        quantize(old, [old.preprocess(images[0])], "onnx", tmp_path / "out")
