"""The weight-free encoder: homogeneous unit rows, stable numbers, and the accuracy that it is said to have."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from lmm_classifier.data.image_folder import scan_corpus
from lmm_classifier.data.images import ImageLimits, read_pictures
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder, describe
from lmm_classifier.neighbors.voting import TopMeanPrototype
from tests.neighbors.test_voting import comparison

ENCODER = DescriptorEncoder()


def wide_picture():
    """Not square, drawn without chance: two waves in two colours."""
    y, x = np.mgrid[0:60, 0:140]
    red = 127 + 120 * np.sin(x / 6)
    green = 127 + 120 * np.sin((x + y) / 9)
    blue = np.full_like(red, 60) + y
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


@pytest.fixture(scope="module")
def patterns():
    rng = np.random.default_rng(0)
    return [draw(KNOWN[number % len(KNOWN)], rng, 96) for number in range(80)]


def test_golden_numbers():
    """Some numbers of each of the five blocks of a known picture do not move."""
    values = describe(wide_picture())
    assert values.shape == (2483,)
    for places, expected in GOLDEN:
        np.testing.assert_allclose(values[list(places)], expected, atol=2e-3)


# places in the row, four in each block, and what stands there
GOLDEN = (
    ((0, 183, 203, 527), (-2.3819, 0.9692, -2.2821, -2.4456)),
    ((600, 663, 684, 1038), (-3.0325, -2.9576, -2.3515, -2.0248)),
    ((1286, 1406, 1650, 1718), (0.5573, 0.5147, 0.4591, 0.5371)),
    ((1873, 2038, 2056, 2063), (0.4451, 0.5121, 0.2211, 0.1414)),
    ((2264, 2309, 2336, 2382), (0.1658, 0.2313, 0.0912, 0.1277)),
)


def test_the_length_can_be_regained():
    """A unit row holds the 2,483 numbers with their length: row[:-1] * c / row[-1]."""
    (row,) = ENCODER.encode_images([wide_picture()])
    regained = row[:-1] * (27.0 / row[-1])
    np.testing.assert_allclose(regained, describe(wide_picture()), rtol=1e-4, atol=1e-5)


def test_what_it_sees():
    """A small change is near, a mirrored picture is farther, another picture farthest."""
    image = wide_picture()
    changed = Image.eval(image, lambda value: min(255, value + 4))
    other = draw("polka_dots", np.random.default_rng(1), 96)
    rows = [describe(one).astype(float) for one in (image, changed, ImageOps.mirror(image), other)]
    near, mirrored, far = (np.linalg.norm(rows[0] - row) for row in rows[1:])
    assert near < mirrored < far


def test_large_pictures_are_reduced_first():
    """Twice the pixels of the same picture give nearly the same numbers."""
    image = wide_picture().resize((256, 110), Image.Resampling.BICUBIC)
    twice = image.resize((512, 220), Image.Resampling.BICUBIC)
    one, two = describe(image), describe(twice)
    assert np.linalg.norm(one - two) < 0.25 * np.linalg.norm(one - describe(draw("stripes", np.random.default_rng(0))))


def test_float16_storage_is_harmless(patterns):
    """Rows that were stored in half precision keep their place in the whitened space to a thousandth."""
    rows = ENCODER.encode_images(patterns)
    space = ENCODER.space.fit(lambda: iter([rows]))
    stored = rows.astype(np.float16).astype(np.float32)
    assert (space.transform(rows) * space.transform(stored)).sum(axis=1).min() > 0.999


def test_accuracy_on_photographs(shared):
    """On a quarter of the clothing photographs it is far above chance (benchmarks/descriptor.py has the whole)."""
    parts = []
    for part, step in (("train", 4), ("validation", 2)):
        corpus = scan_corpus(shared / "data/clothing" / part)
        examples = corpus.examples[::step]
        pictures = read_pictures([corpus.root / one.path for one in examples], ImageLimits(), None, 2)
        rows = ENCODER.encode_images([picture.image for picture in pictures])
        parts.append((rows, [one.label for one in examples]))
    (train, labels), (new, truth) = parts
    names = sorted(set(labels))
    space = ENCODER.space.fit(lambda: iter([train]))
    matrix = space.transform(train)
    label_ids = np.array([names.index(label) for label in labels])
    chosen = TopMeanPrototype().scores(comparison(matrix, space.transform(new), label_ids)).argmax(axis=1)
    assert np.mean([names[number] == label for number, label in zip(chosen, truth)]) > 0.6
