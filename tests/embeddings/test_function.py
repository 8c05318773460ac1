"""A function over images, or over arrays, is an encoder; its faults are those of an encoder."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmm_classifier import FunctionEncoder, HybridClassifier, PipelineConfig, build_index_from_directory
from lmm_classifier.core.errors import EncoderError, IndexMismatchError
from lmm_classifier.core.protocols import TextEncoder
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.testing import check_encoder
from tests.helpers.datasets import LABELS, draw_dataset


def histogram(images):
    """Return the histogram of each image, (b, 48), of its colors."""
    arrays = [np.asarray(image.resize((24, 24))) for image in images]
    return np.array([np.concatenate([np.histogram(a[..., c], 16, (0, 256))[0] for c in range(3)]) for a in arrays])


def small(image):
    return np.asarray(image.resize((8, 8)))


def flattened(arrays):
    return arrays.reshape(len(arrays), -1) + 1.0


def images(count):
    return [draw(LABELS[n % len(LABELS)], np.random.default_rng(n), 64) for n in range(count)]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_it_follows_the_protocol(batch_size):
    """With images of PIL and with arrays, whatever the batch; it has no text tower."""
    for encoder in (
        FunctionEncoder(histogram, "histogram@1", 48, batch_size=batch_size),
        FunctionEncoder(flattened, "pixels@1", 192, preprocess=small, batch_size=batch_size, image_size=8),
    ):
        check_encoder(encoder)
        assert encoder.batch_size % batch_size == 0
        assert not isinstance(encoder, TextEncoder)


def test_the_function_gets_batches_of_one_size():
    """Every call has `batch_size` images, so a function that depends on its batch gives the same for an image."""
    sizes = []

    def watched(given):
        sizes.append(len(given))
        assert all(isinstance(image, Image.Image) and image.mode == "RGB" for image in given)
        return histogram(given)

    encoder = FunctionEncoder(watched, "histogram@1", 48, batch_size=4)
    rows = encode_images(encoder, images(6))
    assert sizes == [4, 4]
    np.testing.assert_array_equal(rows[5:], encode_images(encoder, images(6)[5:]))
    expected = histogram(images(6)).astype(float)
    np.testing.assert_allclose(rows, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


def test_a_copy_calls_the_same_function():
    """Another process can be sent it, where the function can be pickled."""
    encoder = FunctionEncoder(flattened, "pixels@1", 192, preprocess=small)
    copy = pickle.loads(pickle.dumps(encoder))
    assert copy.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(encode_images(copy, images(2)), encode_images(encoder, images(2)))


@pytest.mark.parametrize(
    ("fn", "reason"),
    [
        (lambda given: 1 / 0, "mine@1 failed: ZeroDivisionError"),
        (lambda given: np.ones((len(given), 3)), r"shape \(2, 3\), expected \(2, 4\)"),
        (lambda given: np.ones((1, 4)), r"shape \(1, 4\), expected \(2, 4\)"),
        (lambda given: [["a"] * 4] * 2, "mine@1 failed: ValueError"),
        (lambda given: None, "mine@1"),
        (lambda given: np.zeros((2, 4)), "without a direction"),
        (lambda given: np.full((2, 4), np.nan), "without a direction"),
    ],
)
def test_a_function_that_gives_no_vectors(fn, reason):
    """The error is that of an encoder, which names the function and what came."""
    with pytest.raises(EncoderError, match=reason):
        encode_images(FunctionEncoder(fn, "mine@1", 4, batch_size=2), images(1))


def test_faults_of_the_preprocessing_and_of_the_arguments():
    """Arrays of several shapes cannot be one batch; sizes are at least 1, and a name is needed."""
    encoder = FunctionEncoder(flattened, "mine@1", 4, preprocess=np.asarray, batch_size=2)
    with pytest.raises(EncoderError, match="arrays of several shapes"):
        encode_images(encoder, [Image.new("RGB", (2, 2)), Image.new("RGB", (2, 3))])
    encoder = FunctionEncoder(flattened, "mine@1", 4, preprocess=lambda image: 1 / 0)
    with pytest.raises(EncoderError, match="preprocessing of mine@1 failed"):
        encode_images(encoder, images(1))
    for arguments in ({"name": ""}, {"dim": 0}, {"batch_size": 0}, {"image_size": 0}):
        with pytest.raises(EncoderError, match="at least 1"):
            FunctionEncoder(**{"fn": flattened, "name": "mine@1", "dim": 4, **arguments})


def test_an_index_belongs_to_the_name(tmp_path):
    """It builds an index and classifies; under another name the vectors are refused."""
    dataset = draw_dataset(tmp_path / "dataset", LABELS[:3], 4, size=48)
    config = PipelineConfig()
    config.retrieval.index_path, config.rerank.enabled = tmp_path / "index", False
    encoder = FunctionEncoder(histogram, "histogram@1", 48)
    build_index_from_directory(dataset, tmp_path / "index", config=config, encoder=encoder)
    path = next(Path(dataset).rglob("*.png"))
    with HybridClassifier(config, encoder=encoder) as classifier:
        assert next(iter(classifier.classify_paths([path]))).candidates[0].label == path.parent.name
    with pytest.raises(IndexMismatchError, match="model differ"):
        HybridClassifier(config, encoder=FunctionEncoder(histogram, "histogram@2", 48))


@pytest.mark.long
def test_a_model_of_sentence_transformers(tiny_encoder):
    """Its vectors are those of the same checkpoint in transformers."""
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from lmm_classifier.embeddings.transformers import TransformersEncoder

    folder = str(tiny_encoder("clip"))
    model = library.SentenceTransformer(folder, device="cpu")
    encoder = FunctionEncoder(model.encode, "tiny-clip@1", 48, image_size=56)
    check_encoder(encoder)
    expected = encode_images(TransformersEncoder(folder, dtype="float32", device="cpu"), images(4))
    assert (encode_images(encoder, images(4)) * expected).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("\nCUDA error\nSet CUDA_LAUNCH_BLOCKING=1"), "ValueError: CUDA error"), (KeyError(), "KeyError")],
)
def test_an_error_of_the_function_is_one_line(error, reason):
    """An error of the function or of the preprocessing has the first line of its message, or its class."""

    def fail(_):
        raise error

    with pytest.raises(EncoderError, match=rf"^m failed: {reason}$"):
        FunctionEncoder(fail, "m", 4).encode([np.zeros((4, 4, 3), np.uint8)])
    with pytest.raises(EncoderError, match=rf"^the preprocessing of m failed: {reason}$"):
        FunctionEncoder(len, "m", 4, preprocess=fail).preprocess(Image.new("RGB", (4, 4)))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [((None, "m", 4), {}), ((len, 7, 4), {}), ((len, "m", 4.5), {}), ((len, "m", "4"), {}), ((len, "m", None), {}),
     ((len, "m", True), {}), ((len, "m", 4), {"batch_size": 2.5}), ((len, "m", 4), {"preprocess": "resize"})],
)  # fmt: skip
def test_arguments_of_another_kind_are_refused(arguments, options):
    with pytest.raises(EncoderError, match="FunctionEncoder needs"):
        FunctionEncoder(*arguments, **options)


def test_numbers_of_numpy_are_counts():
    assert FunctionEncoder(len, "m", np.int64(4)).fingerprint == FunctionEncoder(len, "m", 4).fingerprint
