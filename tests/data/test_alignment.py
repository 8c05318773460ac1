"""A warp is recovered, and only images of the same content agree afterwards."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.data import alignment
from lmm_classifier.data.alignment import align, detail_correlation, plane_correlation, refine, warped
from lmm_classifier.data.synthetic.catalog import draw


def thumbnail(image):
    return np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BILINEAR), np.float32)[None]


@pytest.fixture(scope="module")
def image():
    """A scene without a period: blocks of random brightness at three scales."""
    rng = np.random.default_rng(3)
    layers = [Image.fromarray(rng.integers(0, 255, (side, side), np.uint8)) for side in (4, 9, 23)]
    pixels = sum(np.asarray(layer.resize((240, 240), Image.Resampling.BICUBIC), float) for layer in layers) / 3
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("box", [(12, 12, 228, 228), (0, 0, 228, 240), (10, 2, 240, 222), (20, 24, 222, 216)])
def test_a_crop_is_found_where_it_was(image, box):
    """The scales are those of the crop, and the details agree."""
    first, second = thumbnail(image), thumbnail(image.crop(box))
    warp = align(second, first, np.array([0.9]))
    left, top, right, bottom = (edge / 240 for edge in box)
    np.testing.assert_allclose(warp[0], [right - left, right + left - 1, bottom - top, bottom + top - 1], atol=0.02)
    assert detail_correlation(second, first, warp)[0] > 0.9
    np.testing.assert_allclose(refine(second, first, warp), warp, atol=0.01)


def test_gain_and_offset_do_not_matter(image):
    """A darker copy of less contrast agrees as well."""
    first = thumbnail(image)
    second = 0.6 * first + 20
    assert detail_correlation(first, second, align(first, second, np.ones(1)))[0] > 0.99


def test_other_images_do_not_agree(image):
    """Neither a drawn one nor one without any detail, which agrees with nothing."""
    first, blank = thumbnail(image), np.full((1, 64, 64), 200, np.float32)
    other = thumbnail(draw("stripes", np.random.default_rng(0), 96))
    for second in (other, blank):
        assert detail_correlation(first, second, align(first, second, np.ones(1)))[0] < 0.5
    assert detail_correlation(blank, blank, align(blank, blank, np.ones(1)))[0] < 0.5


def test_gray_images_have_equal_colors():
    """Planes without variance agree with each other, and not with planes that have any."""
    warp = np.array([[1.0, 0.0, 1.0, 0.0]])
    gray = np.full((1, 2, 16, 16), 128, np.float32)
    colored = gray + 40 * np.sign(np.arange(16) - 7.5).astype(np.float32)
    assert plane_correlation(gray, gray, warp, 4.0)[0] == pytest.approx(1)
    assert plane_correlation(gray, colored, warp, 4.0)[0] < 0.2
    assert plane_correlation(colored, colored, warp, 4.0)[0] == pytest.approx(1)


def test_what_lies_outside_does_not_exist():
    """Half of the image remains where it is shifted by half of its width."""
    images, exists = warped(np.ones((1, 8, 8), np.float32), np.array([[1.0, 1.0, 1.0, 0.0]]))
    assert images.shape == exists.shape == (1, 8, 8)
    assert exists.mean() == 0.5


def test_pairs_do_not_change_each_other(monkeypatch):
    """Pairs that are refined together have the warps that each has alone."""
    rng = np.random.default_rng(8)
    first = rng.normal(size=(5, 64, 64)).astype(np.float32).cumsum(axis=1).cumsum(axis=2)
    second, warps = np.roll(first, 1, axis=2), np.tile([1.0, 0.0, 1.0, 0.0], (5, 1))
    together = alignment.refine(first, second, warps)
    monkeypatch.setattr(alignment, "_PIXELS", 1)
    np.testing.assert_allclose(alignment.refine(first, second, warps), together, atol=1e-5)
    alone = [alignment.refine(first[[row]], second[[row]], warps[[row]])[0] for row in range(5)]
    np.testing.assert_allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize("block", [2, 4, 8])
def test_pooled_images_are_means_of_blocks(block):
    """As by the definition."""
    images = np.random.default_rng(9).normal(size=(3, 16, 16)).astype(np.float32)
    means = images.reshape(3, 16 // block, block, 16 // block, block).mean(axis=(2, 4))
    np.testing.assert_allclose(alignment._pooled(images, block), means, atol=1e-6)


def test_slopes_are_those_of_numpy():
    """Along both axes, with one-sided differences at the edges; times the positions for the scales."""
    images = np.random.default_rng(10).normal(size=(2, 8, 8)).astype(np.float32)
    slopes = alignment._slopes(images, np.ones((2, 8, 8), bool), np.tile([0.5, 0.0, 2.0, 0.0], (2, 1)))
    along_y, along_x = np.gradient(images, 2 / 8, axis=(1, 2))
    centers = (np.arange(8) + 0.5) / 4 - 1
    expected = [along_x / 0.5 * centers, along_x / 0.5, along_y / 2 * centers[:, None], along_y / 2, images]
    for place, values in enumerate([*expected, np.ones_like(images)]):
        np.testing.assert_allclose(slopes[:, place], values.reshape(2, -1), atol=1e-5)
