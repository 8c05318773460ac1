"""The drawn patterns: every class draws, always the same for a generator, and never twice the same otherwise."""

import numpy as np
import pytest

from lmm_classifier.data.synthetic.catalog import KNOWN, UNKNOWN, draw

ALL = (*KNOWN, *UNKNOWN)


def pixels(label, seed=0, size=64):
    return np.asarray(draw(label, np.random.default_rng(seed), size), np.float64)  # (size, size, 3)


def test_there_are_enough_classes():
    """At least sixteen classes make the corpus, at least four are strangers, and no name is in both."""
    assert len(KNOWN) >= 16
    assert len(UNKNOWN) >= 4
    assert len(set(ALL)) == len(ALL)


@pytest.mark.parametrize("label", ALL)
def test_every_class_draws_a_picture_with_something_on_it(label):
    """A picture is RGB, of the size asked for, and shows contrast."""
    picture = draw(label, np.random.default_rng(1))
    assert (picture.mode, picture.size) == ("RGB", (160, 160))
    assert np.asarray(picture.convert("L"), float).std() > 5


@pytest.mark.parametrize("label", ALL)
def test_a_generator_state_gives_one_picture(label):
    """The same seed draws the same bytes, the next seed other ones."""
    assert np.array_equal(pixels(label, 3), pixels(label, 3))
    assert not np.array_equal(pixels(label, 3), pixels(label, 4))


@pytest.mark.parametrize("label", ALL)
def test_one_generator_goes_on(label):
    """Two pictures drawn one after the other from one generator differ."""
    rng = np.random.default_rng(5)
    assert not np.array_equal(np.asarray(draw(label, rng, 32)), np.asarray(draw(label, rng, 32)))


@pytest.mark.parametrize("size", [16, 33, 96, 224])
def test_any_size_from_16_on(size):
    """Odd, small and large sizes are drawn for every class."""
    for label in ALL:
        assert draw(label, np.random.default_rng(0), size).size == (size, size)


def test_too_small_is_refused():
    """Under 16 pixels nothing can be seen: the message says the limit and what came."""
    with pytest.raises(ValueError, match="at least 16 pixels a side, got 15"):
        draw("stripes", np.random.default_rng(0), 15)


def test_classes_differ():
    """With the same generator state, so the same dyes, no two classes draw the same picture."""
    drawn = [pixels(label, 7) for label in ALL]
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            assert np.abs(first - second).mean() > 2


@pytest.mark.parametrize("label", ALL)
def test_colours_do_not_tell_the_class(label):
    """The mean colours of a class's pictures spread widely in every channel; a mix of many dyes less so."""
    means = np.array([pixels(label, seed, 24).mean((0, 1)) for seed in range(40)])  # (40, 3)
    assert (means.std(0) > (25 if label in KNOWN else 15)).all()


def test_houndstooth_has_as_much_dark_as_light():
    """The check is balanced: its two colours cover the same area, whatever its scale."""
    shares = []
    for seed in range(12):
        grey = np.asarray(draw("houndstooth", np.random.default_rng(seed), 128).convert("L"), float)
        grey -= np.add.outer(*(np.linspace(-1, 1, 128) * s for s in slopes(grey)))  # the light from the side
        shares.append((grey > (np.percentile(grey, 5) + np.percentile(grey, 95)) / 2).mean())
    assert 0.4 < np.mean(shares) < 0.6


def slopes(grey):
    """Least-squares slope of the brightness down and across, per half picture."""
    line = np.linspace(-1, 1, len(grey))
    return [float((grey.mean(axis) * line).sum() / (line**2).sum()) for axis in (1, 0)]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [("polkadots", "did you mean 'polka_dots'"), ("tartans", "did you mean 'tartan'"), ("xyz", "choose one of argyle")],
)
def test_an_unknown_name_gets_a_hint(wrong, hint):
    """A misspelt name is answered with the nearest one, a wild one with the list."""
    with pytest.raises(ValueError, match=hint):
        draw(wrong, np.random.default_rng(0))
