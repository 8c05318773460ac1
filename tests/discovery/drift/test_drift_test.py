"""The p-values are uniform where nothing changes, and the same stream gives the same numbers."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.discovery.drift.drift_test import DriftTest


def p_values(seed, held_out=30, images=40, decimals=6):
    """The p-values of a stream without change; few decimals give many ties."""
    rng = np.random.default_rng(seed)
    test = DriftTest.of(rng.normal(size=held_out).round(decimals))
    stream = rng.normal(size=images).round(decimals)
    return [test.observe(f"{n}", f"{seed} {n}", value).p for n, value in enumerate(stream)]


@pytest.mark.parametrize("decimals", [6, 0])
def test_p_values_are_uniform_and_independent(decimals):
    """Dvoretzky, Kiefer & Wolfowitz with Massart's constant bound the distance from uniform, with ties or without."""
    values = np.array([p_values(seed, decimals=decimals) for seed in range(250)])

    def distance(sample):
        ordered, n = np.sort(sample), len(sample)
        steps = np.arange(n + 1) / n
        return max(np.abs(ordered - steps[:-1]).max(), np.abs(ordered - steps[1:]).max())

    def bound(n):
        return math.sqrt(math.log(2 / 1e-4) / (2 * n))

    assert distance(values.ravel()) < bound(values.size)
    pairs = (values[:, ::2] + values[:, 1::2]) % 1  # uniform too, if neighbors in a stream are independent
    assert distance(pairs.ravel()) < bound(pairs.size)


def test_streams_without_change_are_no_alarm():
    """Ville: at most 1 % of the streams. 6 of 150 and more have a probability below 0.005 then."""
    alarms = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        test = DriftTest.of(rng.normal(size=60))
        for number, value in enumerate(rng.normal(size=150)):
            test.observe(str(number), f"{seed} {number}", value)
        alarms += test.report().is_alarm
    assert alarms <= 5


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(1, 30))
def test_a_test_continues_where_it_ended(seed, first, more):
    """Stopped anywhere and continued it is the same test."""
    rng = np.random.default_rng(seed)
    held_out, stream = rng.normal(size=20), rng.normal(-1, 1, size=first + more).round(1)
    images = [(f"{n}", f"{n % 40}", float(value)) for n, value in enumerate(stream)]
    whole = DriftTest.of(held_out)
    tested = [whole.observe(*image) for image in images]
    continued = DriftTest.of(held_out, [image for image in tested[:first] if image is not None])
    assert [continued.observe(*image) for image in images[first:]] == tested[first:]
    assert continued == whole


def test_a_content_counts_once():
    """A copy is no news, whatever its name; another content with the same familiarity has a p of its own."""
    test = DriftTest.of(np.zeros(10))
    first = test.observe("a", "content", 0.0)
    assert test.observe("b", "content", 0.0) is None
    assert test.report().images == 1
    assert test.observe("c", "other content", 0.0).p != first.p


def test_new_held_out_examples_leave_the_former_images_out_of_the_comparison():
    """The wealth stays, the ranks are among the new ones."""
    rng = np.random.default_rng(0)
    test = DriftTest.of(rng.normal(size=50))
    tested = [test.observe(f"{n}", f"{n}", -3.0) for n in range(10)]
    other = DriftTest.of(rng.normal(size=50), tested)
    assert other.reference != test.reference
    assert len(other.pool) == 50
    assert other.martingale == test.martingale
    assert other.observe("0", "0", 1.0) is None


def test_a_change_is_found_and_shown():
    """The alarm has its number, and the images before the change have less evidence."""
    rng = np.random.default_rng(1)
    test = DriftTest.of(rng.normal(size=200))
    for number, value in enumerate([*rng.normal(size=50), *rng.normal(-3, 0.5, size=50)]):
        test.observe(f"{number}", f"{number}", value)
    report = test.report()
    assert report.is_alarm
    assert 50 < report.alarm_at < 80
    assert report.direction == "less familiar"
    assert sum(int(image.name) >= 50 for image in report.shown) >= 9
    assert [image.factor for image in report.shown] == sorted((i.factor for i in report.shown), reverse=True)


@pytest.mark.parametrize("held_out", [[], [0.0, math.nan], [math.inf]])
def test_it_needs_held_out_examples(held_out):
    """Without one there is nothing to compare with."""
    with pytest.raises(ValueError, match="held-out"):
        DriftTest.of(np.array(held_out))


def test_an_impossible_familiarity_is_refused():
    """The caller leaves images without one out."""
    with pytest.raises(ValueError, match=r"'a\.jpg'"):
        DriftTest.of(np.zeros(1)).observe("a.jpg", "", math.nan)


def test_results_of_a_classifier_are_tested(drawn, tmp_path):
    """As `classify --drift` does: a copy counts once, and a file that cannot be read not at all."""
    images = sorted(drawn.new.rglob("*.png"))
    (tmp_path / "broken.png").write_bytes(b"no image")
    shutil.copy(images[0], tmp_path / "copy.png")
    test, results = DriftTest.of_classifier(drawn.classifier), []
    for result in drawn.classifier.classify_paths([*images, tmp_path / "broken.png", tmp_path / "copy.png"]):
        results.append(test.observe_result(result))
    assert test.report().images == len(images)
    assert [place for place, image in enumerate(results) if image is None] == [len(images), len(images) + 1]
    nameless = replace(next(drawn.classifier.classify_paths(images[:1])), path=None, content_hash=None)
    with pytest.raises(ValueError, match="path or a content hash"):
        test.observe_result(nameless)
