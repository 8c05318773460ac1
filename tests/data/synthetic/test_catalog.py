"""Every class draws an image; the same generator state draws the same image, another state another one."""

import numpy as np
import pytest

from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN, draw

ALL = (*KNOWN, *UNKNOWN)


def pixels(label, seed=0, size=64):
    return np.asarray(draw(label, np.random.default_rng(seed), size), np.float64)  # (size, size, 3)


def test_there_are_enough_classes():
    """At least sixteen classes are known, at least four are unknown, and no name is in both."""
    assert len(KNOWN) >= 16
    assert len(UNKNOWN) >= 4
    assert len(set(ALL)) == len(ALL)


@pytest.mark.parametrize("label", ALL)
def test_every_class_draws_an_image_with_contrast(label):
    """An image is RGB, of the default size, and has contrast."""
    image = draw(label, np.random.default_rng(1))
    assert (image.mode, image.size) == ("RGB", (160, 160))
    assert np.asarray(image.convert("L"), float).std() > 5


@pytest.mark.parametrize("label", ALL)
def test_a_seed_gives_one_image(label):
    """The same seed draws the same pixels, the next seed other ones."""
    assert np.array_equal(pixels(label, 3), pixels(label, 3))
    assert not np.array_equal(pixels(label, 3), pixels(label, 4))


@pytest.mark.parametrize("label", ALL)
def test_one_generator_draws_different_images(label):
    """Two images drawn one after the other from one generator differ."""
    rng = np.random.default_rng(5)
    assert not np.array_equal(np.asarray(draw(label, rng, 32)), np.asarray(draw(label, rng, 32)))


@pytest.mark.parametrize("size", [16, 33, 96, 224])
def test_any_size_from_16_pixels(size):
    """Every class draws odd, small and large sizes."""
    for label in ALL:
        assert draw(label, np.random.default_rng(0), size).size == (size, size)


def test_smaller_sizes_are_refused():
    """The message has the limit and the given size."""
    with pytest.raises(ValueError, match="at least 16 pixels a side, got 15"):
        draw("stripes", np.random.default_rng(0), 15)


def test_classes_differ():
    """With the same generator state, hence the same dyes, no two classes draw the same image."""
    drawn = [pixels(label, 7) for label in ALL]
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            assert np.abs(first - second).mean() > 2


@pytest.mark.parametrize("label", ALL)
def test_colors_do_not_tell_the_class(label):
    """The mean colors of a class's images vary widely in every channel; those of a mix of many dyes vary less."""
    means = np.array([pixels(label, seed, 24).mean((0, 1)) for seed in range(40)])  # (40, 3)
    assert (means.std(0) > (25 if label in KNOWN else 15)).all()


def test_houndstooth_has_as_much_dark_as_light():
    """The two colors of the check cover the same area at any scale."""
    fractions = []
    for seed in range(12):
        gray = np.asarray(draw("houndstooth", np.random.default_rng(seed), 128).convert("L"), float)
        gray -= np.add.outer(*(np.linspace(-1, 1, 128) * s for s in slopes(gray)))  # the light from the side
        fractions.append((gray > (np.percentile(gray, 5) + np.percentile(gray, 95)) / 2).mean())
    assert 0.4 < np.mean(fractions) < 0.6


def slopes(gray):
    """Return the least-squares slopes of the brightness down and across, per half image."""
    line = np.linspace(-1, 1, len(gray))
    return [float((gray.mean(axis) * line).sum() / (line**2).sum()) for axis in (1, 0)]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("polkadots", "did you mean 'polka_dots'"), ("tartans", "did you mean 'tartan'"), ("xyz", "choose one of argyle")],
)
def test_an_unknown_name_gets_a_hint(name, hint):
    """The error for a misspelled name has the most similar name; for another name it has the list."""
    with pytest.raises(ValueError, match=hint):
        draw(name, np.random.default_rng(0))
