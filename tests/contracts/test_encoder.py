"""What every encoder promises."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.onnx import OnnxEncoder
from lmm_classifier.embeddings.openvino import OpenvinoEncoder
from lmm_classifier.embeddings.siglip import SiglipEncoder

BACKENDS = ["descriptor", "siglip", "siglip2", "clip", "onnx", "exported onnx", "openvino"]


@pytest.fixture(scope="module", params=BACKENDS)
def make(request):
    """Makes a new instance of one encoder."""
    if request.param == "descriptor":
        return DescriptorEncoder
    if request.param == "onnx":
        model = request.getfixturevalue("mobilenet")
        return lambda: OnnxEncoder(model)
    if request.param == "exported onnx":
        model = request.getfixturevalue("exported")("siglip", "onnx")
        return lambda: OnnxEncoder(model)
    if request.param == "openvino":
        model = request.getfixturevalue("exported")("siglip", "openvino")
        return lambda: OpenvinoEncoder(model, "float32")
    folder = request.getfixturevalue("tiny_encoder")(request.param)
    return lambda: SiglipEncoder(str(folder), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def encoder(make):
    return make()


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [draw(KNOWN[number % len(KNOWN)], rng, 80) for number in range(20)]


@pytest.fixture(scope="module")
def rows(encoder, pictures):
    return encoder.encode_images(pictures)


def test_unit_rows(encoder, rows):
    """(n, dim) float32 of length one, as the fingerprint says."""
    assert rows.shape == (20, encoder.fingerprint.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_no_pictures(encoder):
    """Nothing in, nothing out, in the right shape."""
    assert encoder.encode_images([]).shape == (0, encoder.fingerprint.dim)


@pytest.mark.parametrize("size", [1, 7, 32, 64])
def test_a_row_does_not_depend_on_its_batch(encoder, pictures, rows, size):
    """Bit-identical for any batch size and order."""
    order = np.random.default_rng(size).permutation(20)
    shuffled = [pictures[number] for number in order]
    parts = [encoder.encode_images(shuffled[start : start + size]) for start in range(0, 20, size)]
    np.testing.assert_array_equal(np.concatenate(parts), rows[order])


def test_pictures_differ(rows):
    """Different pictures get different vectors."""
    assert (rows @ rows.T - np.eye(20)).max() < 0.9999999


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2000), (37, 91)])
def test_pictures_of_any_shape(encoder, size):
    """No picture is too small or too narrow."""
    row = encoder.encode_images([Image.new("RGB", size, (200, 30, 90))])
    assert np.isfinite(row).all()
    np.testing.assert_allclose(np.linalg.norm(row), 1, atol=1e-5)


def test_the_picture_is_not_changed(encoder):
    """An encoder only looks."""
    image = draw("stripes", np.random.default_rng(1), 64)
    before = image.tobytes()
    encoder.encode_images([image])
    assert image.tobytes() == before


def test_fingerprint_is_stable(make, encoder):
    """Two instances of one encoder may share an index."""
    assert make().fingerprint == encoder.fingerprint
    assert encoder.fingerprint.revision
    assert encoder.fingerprint.dtype == "float32"
    assert encoder.image_size >= 32


def test_preparing_and_encoding_are_the_two_halves(encoder, pictures, rows):
    """What is prepared in any thread and encoded in one is what `encode_images` gives; it is small."""
    with ThreadPoolExecutor(4) as pool:
        prepared = list(pool.map(encoder.prepare, pictures))
    np.testing.assert_array_equal(encoder.encode(prepared), rows)
    assert encoder.batch_size >= 1


def test_threads_take_turns(encoder, pictures, rows):
    """Two threads that encode at once, many and one, get their own rows."""

    def many(_):
        return encoder.encode_images(pictures)

    def one(number):
        return encoder.encode_images([pictures[number]])[0]

    with ThreadPoolExecutor(4) as pool:
        batches, singles = pool.map(many, range(4)), pool.map(one, range(8))
        for found in batches:
            np.testing.assert_array_equal(found, rows)
        np.testing.assert_array_equal(list(singles), rows[:8])


def test_the_space_fits_and_transforms(encoder, rows):
    """Its space takes its vectors and gives unit rows; equal vectors stay equal."""
    space = encoder.space.fit(lambda: iter([rows[:7], rows[7:]]))
    searched = space.transform(rows)
    np.testing.assert_allclose(np.linalg.norm(searched, axis=1), 1, atol=1e-4)
    np.testing.assert_array_equal(space.transform(rows[3:4])[0], searched[3])
