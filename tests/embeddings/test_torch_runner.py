"""Batches of one shape: what comes out does not depend on how many go in."""

import numpy as np
import pytest
import torch

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.embeddings.torch_runner import Forward, TorchTower


def features(pixels, **rest):
    """A sum per channel, (b, 3)."""
    assert not rest
    return pixels.float().sum(dim=(1, 2))


def pictures(count):
    return list(np.random.default_rng(0).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8))


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_every_picture_gets_its_own_row(batch, count):
    """In order, padded to the batch, which is always the same."""
    shapes = set()

    def watched(pixels):
        shapes.add(tuple(pixels.shape))
        return features(pixels)

    found = TorchTower(watched, "cpu", 4, Forward(batch))(pictures(count), 3)
    assert found.shape == (count, 3)
    np.testing.assert_array_equal(found, np.array([one.sum(axis=(0, 1)) for one in pictures(count)]).reshape(count, 3))
    assert shapes <= {(batch, 4, 5, 3)}


def test_several_arrays_a_picture():
    """What a processor gives travels by name."""

    def watched(ids, mask):
        return (ids * mask).sum(dim=1, keepdim=True).float()

    prepared = [{"ids": np.arange(4) + n, "mask": np.array([1, 1, 0, 0])} for n in range(5)]
    found = TorchTower(watched, "cpu", 4, Forward(2))(prepared, 1)
    np.testing.assert_array_equal(found[:, 0], [1, 3, 5, 7, 9])


def test_a_batch_that_does_not_fit_is_halved(caplog):
    """The answer is the same, the log says so, and later batches are small at once."""

    def small(pixels):
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("too much")
        return features(pixels)

    tower = TorchTower(small, "cpu", 4, Forward(16))
    found = tower(pictures(5), 3)
    np.testing.assert_array_equal(found, [one.sum(axis=(0, 1)) for one in pictures(5)])
    assert tower.batch == 2
    assert "2 pictures at a time" in caplog.text


def test_one_that_never_fits_is_an_error():
    """A single picture that is too much is not tried for ever."""

    def never(pixels):
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(EncoderError, match="too small for one picture"):
        TorchTower(never, "cpu", 4, Forward(4))(pictures(2), 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("count", [1, 7, 40])
def test_cuda_overlaps_copies_without_mixing_them(count):
    """Many batches of many sizes through pinned memory and a second stream: each row is its picture's."""
    found = TorchTower(features, "cuda", 4, Forward(3))(pictures(count), 3)
    np.testing.assert_array_equal(found, [one.sum(axis=(0, 1)) for one in pictures(count)])
