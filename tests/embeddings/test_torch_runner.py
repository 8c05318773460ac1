"""Batches have one shape, and a row does not depend on the number of images."""

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


def test_an_image_that_never_fits_is_an_error():
    """A single image that is too large for the memory is not tried again."""

    def never(pixels):
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(EncoderError, match="too small for one image"):
        BatchedTorchModel(never, "cpu", 4, ForwardOptions(4))(images(2), 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("count", [1, 7, 40])
def test_cuda_overlaps_copies_without_mixing_them(count):
    """Each row is that of its image, for many batches through pinned memory and a second stream."""
    rows = BatchedTorchModel(features, "cuda", 4, ForwardOptions(3))(images(count), 3)
    np.testing.assert_array_equal(rows, [sums(image) for image in images(count)])
