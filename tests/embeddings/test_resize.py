"""Resizing stays within two gray levels of Pillow, for any size and for the hardest contents."""

import sys
import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lmm_classifier.data.images import read_image
from lmm_classifier.embeddings import resize as module
from lmm_classifier.embeddings.resize import resize

SIDE = st.integers(1, 700)


def drawn(width, height, seed):
    """Return noise, or random black and white, whose hard edges are clipped between the two passes."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(np.where(values < 128, 0, 255).astype(np.uint8) if seed % 2 else values)


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from(["bilinear", "bicubic", "lanczos"]), st.integers(0, 9), st.booleans())
@example(800, 1218, 384, 384, "bicubic", 1, False)
@example(800, 1216, 384, 384, "bicubic", 1, False)
@example(3, 700, 384, 384, "lanczos", 1, True)
def test_within_two_levels_of_pillow(width, height, wide, high, resample, seed, crop):
    """This holds for whole images and for parts, larger and smaller."""
    image = drawn(width, height, seed)
    box = (width * 0.1, height * 0.2, width * 0.9, height * 0.7) if crop else None
    expected = np.asarray(image.resize((wide, high), Image.Resampling[resample.upper()], box)).astype(int)
    resized = resize(image, (wide, high), resample, box)
    assert resized.shape == (high, wide, 3)
    assert resized.dtype == np.uint8
    assert np.abs(resized - expected).max() <= 2


def test_threads_do_not_share_buffers():
    """Many threads that resize the same images get the same bytes."""
    images = [drawn(300 + n, 200, n) for n in range(8)]
    expected = [resize(image, (64, 64), "bicubic") for image in images]
    results = {}

    def work(number):
        results[number] = [resize(image, (64, 64), "bicubic") for image in images]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for resized in results.values():
        np.testing.assert_array_equal(resized, expected)


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_without_the_library_pillow_resizes(monkeypatch, resample):
    """The result is then exactly Pillow's."""
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    module._library.cache_clear()
    try:
        image = drawn(90, 70, 0)
        expected = np.asarray(image.resize((32, 48), Image.Resampling[resample.upper()]))
        np.testing.assert_array_equal(resize(image, (32, 48), resample), expected)
    finally:
        module._library.cache_clear()


def without_library(monkeypatch, compute):
    """Return what `compute` returns where the library is not installed."""
    module._library.cache_clear()
    try:
        with monkeypatch.context() as context:
            context.setitem(sys.modules, "cykooz_resizer", None)
            return compute()
    finally:
        module._library.cache_clear()


def test_embeddings_with_and_without_the_library_may_be_compared(monkeypatch, tiny_encoder):
    """Vectors of one index made on machines with and without it differ less than those of two number types."""
    pytest.importorskip("torch")
    pytest.importorskip("cykooz_resizer")
    from lmm_classifier.embeddings.transformers import TransformersEncoder

    encoder = TransformersEncoder(str(tiny_encoder("siglip")), dtype="float32", device="cpu")
    images = [drawn(300 + 40 * number, 260, number) for number in range(6)]

    def embeddings():
        return encoder.encode([encoder.preprocess(image) for image in images])

    fast, plain = embeddings(), without_library(monkeypatch, embeddings)
    assert not np.array_equal(fast, plain)
    assert (fast * plain).sum(axis=1).min() > 0.999
    assert np.abs(fast @ fast.T - plain @ fast.T).max() < 2e-3


@pytest.mark.long
def test_photographs_have_the_same_nearest_neighbor_with_and_without_the_library(monkeypatch, mobilenet, shared):
    """A trained encoder on real images."""
    pytest.importorskip("cykooz_resizer")
    from lmm_classifier.embeddings.onnx import OnnxEncoder

    encoder = OnnxEncoder(mobilenet)
    paths = sorted((shared / "data" / "clothing" / "validation").rglob("*.jpg"))[::4]
    images = [read_image(path).image for path in paths]

    def embeddings():
        return encoder.encode([encoder.preprocess(image) for image in images])

    fast, plain = embeddings(), without_library(monkeypatch, embeddings)
    assert (fast * plain).sum(axis=1).min() > 0.9999
    similarities = np.stack([fast @ fast.T, plain @ fast.T])
    similarities[:, np.arange(len(fast)), np.arange(len(fast))] = -1
    nearest = similarities.argmax(axis=2)
    np.testing.assert_array_equal(*nearest)
