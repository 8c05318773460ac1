"""OpenVINO: one picture or many, one thread or two, the same bits; any model with a description."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.onnx import OnnxEncoder
from lmm_classifier.embeddings.openvino import OpenvinoEncoder
from tests.conftest import MOBILENET


def pictures(count=6):
    rng = np.random.default_rng(0)
    return [draw(KNOWN[n % len(KNOWN)], rng, 90) for n in range(count)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_alone_or_side_by_side(exported, dtype):
    """A picture has the same bits in a batch of any size and with any number of threads."""
    folder = exported("siglip", "openvino")
    many = OpenvinoEncoder(folder, dtype, threads=2)
    rows = many.encode_images(pictures())
    for threads in (1, 2):
        encoder = OpenvinoEncoder(folder, dtype, threads)
        for number, picture in enumerate(pictures()):
            np.testing.assert_array_equal(encoder.encode_images([picture])[0], rows[number])
        np.testing.assert_array_equal(encoder.encode_images(pictures()[::-1]), rows[::-1])
    assert many.fingerprint.dtype == dtype


@pytest.fixture(scope="module")
def mobilenet_xml(mobilenet, tmp_path_factory):
    """The real MobileNetV2 as an OpenVINO model with the description of the ONNX one: floats, channels first."""
    import openvino

    folder = tmp_path_factory.mktemp("openvino")
    openvino.save_model(openvino.convert_model(mobilenet), folder / "mobilenet.xml", compress_to_fp16=False)
    (folder / "mobilenet.yaml").write_text(MOBILENET, encoding="utf-8")
    return folder / "mobilenet.xml"


def test_a_model_of_ones_own(mobilenet, mobilenet_xml):
    """The same vectors as through ONNX Runtime, under a fingerprint of its own."""
    encoder = OpenvinoEncoder(mobilenet_xml, "float32")
    expected = OnnxEncoder(mobilenet).encode_images(pictures())
    assert (encoder.encode_images(pictures()) * expected).sum(axis=1).min() >= 0.99999
    assert encoder.fingerprint.backend == "openvino"
    assert encoder.fingerprint.dim == 1280


def test_what_is_wrong_is_told(exported, mobilenet_xml, tmp_path):
    """No model, no description, no model content, another input."""
    with pytest.raises(EncoderError, match=r"no \.xml model"):
        OpenvinoEncoder(tmp_path)
    (tmp_path / "model.xml").write_text("nonsense")
    with pytest.raises(EncoderError, match="no description"):
        OpenvinoEncoder(tmp_path)
    (tmp_path / "model.yaml").write_text(MOBILENET)
    with pytest.raises(EncoderError, match="not a loadable OpenVINO model"):
        OpenvinoEncoder(tmp_path)
    described = mobilenet_xml.with_suffix(".yaml")
    try:
        described.write_text(MOBILENET + "layout: nhwc\n")
        with pytest.raises(EncoderError, match="refused its input"):
            OpenvinoEncoder(mobilenet_xml)
        with pytest.raises(EncoderError, match=r"encoder\.dtype is 'float16', but this processor computes in"):
            OpenvinoEncoder(mobilenet_xml, "float16")
    finally:
        described.write_text(MOBILENET)


def test_vectors_without_a_direction_are_told(exported):
    """Black, white or noise: always a direction; an empty list is no picture."""
    encoder = OpenvinoEncoder(exported("siglip", "openvino"))
    assert encoder.encode([]).shape == (0, 64)
    assert np.isfinite(encoder.encode_images([Image.new("RGB", (9, 9)), Image.new("RGB", (9, 9), "white")])).all()
