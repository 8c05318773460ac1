"""OpenVINO gives the same bits for any number of images and threads, and runs any model with a description."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.onnx import OnnxEncoder
from lmm_classifier.embeddings.openvino import OpenvinoEncoder
from tests.conftest import MOBILENET


def images(count=6):
    rng = np.random.default_rng(0)
    return [draw(KNOWN[n % len(KNOWN)], rng, 90) for n in range(count)]


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.long), "bfloat16"])
def test_bits_do_not_depend_on_batch_or_threads(exported, dtype):
    """An image has the same bits in a batch of any size and with any number of threads."""
    folder = exported("siglip", "openvino")
    many = OpenvinoEncoder(folder, dtype, threads=2)
    rows = encode_images(many, images())
    for threads in (1, 2):
        encoder = OpenvinoEncoder(folder, dtype, threads)
        for number, image in enumerate(images()):
            np.testing.assert_array_equal(encode_images(encoder, [image])[0], rows[number])
        np.testing.assert_array_equal(encode_images(encoder, images()[::-1]), rows[::-1])
    assert many.fingerprint.dtype == dtype


@pytest.fixture(scope="module")
def mobilenet_xml(mobilenet, tmp_path_factory):
    """The real MobileNetV2 as an OpenVINO model with the description of the ONNX one: floats, channels first."""
    import openvino

    folder = tmp_path_factory.mktemp("openvino")
    openvino.save_model(openvino.convert_model(mobilenet), folder / "mobilenet.xml", compress_to_fp16=False)
    (folder / "mobilenet.yaml").write_text(MOBILENET, encoding="utf-8")
    return folder / "mobilenet.xml"


@pytest.mark.long
def test_a_model_that_is_no_export(mobilenet, mobilenet_xml):
    """It gives the vectors of ONNX Runtime under its own fingerprint."""
    encoder = OpenvinoEncoder(mobilenet_xml, "float32")
    expected = encode_images(OnnxEncoder(mobilenet), images())
    assert (encode_images(encoder, images()) * expected).sum(axis=1).min() >= 0.99999
    assert encoder.fingerprint.backend == "openvino"
    assert encoder.fingerprint.dim == 1280


def test_errors_name_the_fault(exported, mobilenet_xml, tmp_path):
    """A missing model, description or content, another input and another number type have their own errors."""
    with pytest.raises(EncoderError, match=r"no \.xml model"):
        OpenvinoEncoder(tmp_path)
    (tmp_path / "model.xml").write_text("nonsense")
    with pytest.raises(EncoderError, match="no description"):
        OpenvinoEncoder(tmp_path)
    (tmp_path / "model.yaml").write_text(MOBILENET)
    with pytest.raises(EncoderError, match="not a loadable OpenVINO model"):
        OpenvinoEncoder(tmp_path)
    description = mobilenet_xml.with_suffix(".yaml")
    try:
        description.write_text(MOBILENET + "layout: nhwc\n")
        with pytest.raises(EncoderError, match="refused its input"):
            OpenvinoEncoder(mobilenet_xml)
        with pytest.raises(EncoderError, match=r"encoder\.dtype is 'float16', but this processor computes in"):
            OpenvinoEncoder(mobilenet_xml, "float16")
    finally:
        description.write_text(MOBILENET)


def test_black_and_white_images_have_vectors(exported):
    """Uniform images give finite vectors; no image gives no vector."""
    encoder = OpenvinoEncoder(exported("siglip", "openvino"))
    assert encoder.encode([]).shape == (0, 64)
    assert np.isfinite(encode_images(encoder, [Image.new("RGB", (9, 9)), Image.new("RGB", (9, 9), "white")])).all()


@pytest.mark.long
def test_a_signal_after_encoders_are_closed(mobilenet_xml):
    """Several encoders in one process, closed in any order, leave Ctrl-C as it was."""
    code = (
        "import gc, os, signal, sys\n"
        "from pathlib import Path\n"
        "from lmm_classifier.embeddings.openvino import OpenvinoEncoder\n"
        "encoders = [OpenvinoEncoder(Path(sys.argv[1]), 'float32') for _ in range(3)]\n"
        "while encoders:\n"
        "    encoders.pop(0)\n"
        "    gc.collect()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, mobilenet_xml], capture_output=True, check=False, text=True)
    assert done.returncode == 7, done.stderr


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("", "it has no <net>"),
        ("<html>no</html>", "it has no <net>"),
        ('<?xml version="1.0"?><net name="x" version="11"><layers><layer id="0"', "Error parsing"),
    ],
)  # fmt: skip
def test_a_damaged_model_says_why_in_one_line(tmp_path, capfd, model, reason):
    """The reason is never empty, and no other library of OpenVINO writes to the terminal."""
    (tmp_path / "model.xml").write_text(model)
    (tmp_path / "model.bin").write_bytes(b"")
    (tmp_path / "model.yaml").write_text("size: 8\n")
    with pytest.raises(EncoderError, match=rf"not a loadable OpenVINO model: .*{reason}.*export it again") as caught:
        OpenvinoEncoder(tmp_path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
