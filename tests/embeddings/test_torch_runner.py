"""Batches have one shape, and a row does not depend on the number of images."""

import weakref

import numpy as np
import pytest

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.embeddings.torch_runner import BatchedTorchModel, ForwardOptions

torch = pytest.importorskip("torch", reason="torch is not installed")


def features(pixels, **rest):
    """Return the sum per channel, (b, 3)."""
    assert not rest
    return pixels.float().sum(dim=(1, 2))


def sums(image):
    return image.sum(axis=(0, 1))


def images(count):
    return list(np.random.default_rng(0).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8))


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_every_image_gets_its_own_row(batch, count):
    """Rows come in order, and every batch is padded to the same shape."""
    shapes = set()

    def watched(pixels):
        shapes.add(tuple(pixels.shape))
        return features(pixels)

    rows = BatchedTorchModel(watched, "cpu", 4, ForwardOptions(batch))(images(count), 3)
    assert rows.shape == (count, 3)
    np.testing.assert_array_equal(rows, np.array([sums(image) for image in images(count)]).reshape(count, 3))
    assert shapes <= {(batch, 4, 5, 3)}


def test_several_arrays_per_image():
    """The arrays of a processor are passed by name."""

    def watched(ids, mask):
        return (ids * mask).sum(dim=1, keepdim=True).float()

    preprocessed = [{"ids": np.arange(4) + n, "mask": np.array([1, 1, 0, 0])} for n in range(5)]
    rows = BatchedTorchModel(watched, "cpu", 4, ForwardOptions(2))(preprocessed, 1)
    np.testing.assert_array_equal(rows[:, 0], [1, 3, 5, 7, 9])


def test_a_batch_that_does_not_fit_is_halved(caplog):
    """The result is the same, a warning is logged, and later batches have the smaller size."""

    def small(pixels):
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("too much")
        return features(pixels)

    model = BatchedTorchModel(small, "cpu", 4, ForwardOptions(16))
    np.testing.assert_array_equal(model(images(5), 3), [sums(image) for image in images(5)])
    assert model.batch == 2
    assert "2 images at a time" in caplog.text


@pytest.mark.parametrize("message", ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED", "MPS backend out of memory"])
def test_a_library_that_says_so_in_words_is_understood(message):
    """A matrix library without its workspace raises a plain RuntimeError; other errors are passed on."""

    def small(pixels):
        if len(pixels) > 1:
            raise RuntimeError(message)
        return features(pixels)

    model = BatchedTorchModel(small, "cpu", 4, ForwardOptions(2))
    np.testing.assert_array_equal(model(images(2), 3), [sums(image) for image in images(2)])
    with pytest.raises(RuntimeError, match="EXECUTION_FAILED"):
        BatchedTorchModel(fails(RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED")), "cpu", 4)(images(1), 3)


def test_an_output_of_another_shape_is_an_error():
    """Rows of another length, or not one for each image, are never cut or copied."""
    for wrong in (lambda pixels: features(pixels)[:, :2], lambda pixels: features(pixels)[:1]):
        with pytest.raises(EncoderError, match=r"expected \(2, 3\)"):
            BatchedTorchModel(wrong, "cpu", 4, ForwardOptions(2))(images(2), 3)


def fails(error):
    """Return a forward pass that raises `error`."""

    def failing(pixels):
        raise error

    return failing


class Greedy:
    """A forward pass that fails while it holds an activation, until one image is left; it counts what is alive."""

    def __init__(self, fits):
        self.fits, self.held, self.alive = fits, [], []

    def __call__(self, pixels):
        activation = pixels.float() * 2
        self.held.append(weakref.ref(activation))
        if len(pixels) > self.fits:
            raise torch.OutOfMemoryError("too much")
        return features(activation / 2)

    def count(self, *_):
        self.alive.append(sum(reference() is not None for reference in self.held))


def test_what_failed_is_freed_before_the_memory_is_given_back(monkeypatch):
    """No activation of the failed pass is alive then, or the smaller batch would not fit either."""
    greedy = Greedy(1)
    monkeypatch.setattr("lmm_classifier.embeddings.torch_runner.free_memory", greedy.count)
    BatchedTorchModel(greedy, "cpu", 4, ForwardOptions(8))(images(8), 3)
    assert greedy.alive == [0, 0, 0]


def test_errors_that_are_kept_hold_no_activations(monkeypatch):
    """A run keeps the error of each image that fails: five of them hold the memory of none."""
    greedy, errors = Greedy(0), []
    monkeypatch.setattr("lmm_classifier.embeddings.torch_runner.free_memory", greedy.count)
    model = BatchedTorchModel(greedy, "cpu", 4)
    for _ in range(5):
        with pytest.raises(EncoderError, match="too small for one image") as caught:
            model(images(1), 3)
        errors.append(caught.value)
        greedy.count()
    assert greedy.alive == [0] * 10
    assert all(error.__cause__ is None and error.__context__ is None for error in errors)


@pytest.mark.parametrize("tokens", [49, 196, 256, 729, 1024, 4096])
def test_the_size_of_a_batch_fills_a_gpu(tokens):
    """As many images as have about 32,768 patches, a multiple of 8; a CPU takes one."""
    batch = BatchedTorchModel(features, "cuda", tokens).batch
    assert batch % 8 == 0
    assert batch == 8 or 0.75 * 32_768 <= batch * tokens <= 32_768
    assert BatchedTorchModel(features, "cpu", tokens).batch == 1


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("count", [1, 7, 40])
def test_cuda_overlaps_copies_without_mixing_them(count):
    """Each row is that of its image, for many batches through pinned memory and a second stream."""
    rows = BatchedTorchModel(features, "cuda", 4, ForwardOptions(3))(images(count), 3)
    np.testing.assert_array_equal(rows, [sums(image) for image in images(count)])


@pytest.mark.gpu
@gpu
def test_memory_on_cuda_does_not_grow_with_calls():
    """One stream for copies: unused memory of each stream is kept apart, so a stream per call would add up."""
    model = BatchedTorchModel(features, "cuda", 4, ForwardOptions(8))
    many = [np.zeros((384, 384, 3), np.uint8)] * 32
    for _ in range(3):
        model(many, 3)
    before = torch.cuda.memory_reserved()
    for _ in range(40):
        model(many, 3)
    assert torch.cuda.memory_reserved() == before


@pytest.mark.gpu
@gpu
def test_a_batch_that_does_not_fit_on_cuda_is_halved():
    """A pass that needs more than the GPU has fails at 64 images, and fits after the size was halved."""

    def large(pixels):
        share = torch.cuda.get_device_properties(0).total_memory // 40
        _held = torch.empty(share * len(pixels), dtype=torch.uint8, device="cuda")
        return features(pixels)

    model = BatchedTorchModel(large, "cuda", 4, ForwardOptions(64))
    np.testing.assert_array_equal(model(images(64), 3), [sums(image) for image in images(64)])
    assert model.batch in (8, 16, 32)
