"""The weight-free encoder gives homogeneous normalized rows, stable numbers and the documented accuracy."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from lmm_classifier.data.image_folder import scan_image_folder
from lmm_classifier.data.images import ImageLimits, read_images
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.descriptor import DescriptorEncoder, describe
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.neighbors.voting import TopKMeanPrototype
from tests.neighbors.test_voting import compare

ENCODER = DescriptorEncoder()


def wide_image():
    """Return an image that is not square and not random: two waves in two colors."""
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
    """Some numbers of each of the five blocks of a fixed image do not change."""
    values = describe(wide_image())
    assert values.shape == (2483,)
    for positions, expected in GOLDEN:
        np.testing.assert_allclose(values[list(positions)], expected, atol=2e-3)


# positions in the row, four in each block, and the numbers there
GOLDEN = (
    ((0, 183, 203, 527), (-2.3819, 0.9692, -2.2821, -2.4456)),
    ((600, 663, 684, 1038), (-3.0325, -2.9576, -2.3515, -2.0248)),
    ((1286, 1406, 1650, 1718), (0.5573, 0.5147, 0.4591, 0.5371)),
    ((1873, 2038, 2056, 2063), (0.4451, 0.5121, 0.2211, 0.1414)),
    ((2264, 2309, 2336, 2382), (0.1658, 0.2313, 0.0912, 0.1277)),
)


def test_the_norm_can_be_recovered():
    """A normalized row holds the 2,483 numbers with their norm: row[:-1] * c / row[-1]."""
    (row,) = encode_images(ENCODER, [wide_image()])
    recovered = row[:-1] * (27.0 / row[-1])
    np.testing.assert_allclose(recovered, describe(wide_image()), rtol=1e-4, atol=1e-5)


def test_similar_images_have_similar_numbers():
    """A slightly changed image is closest, a mirrored one is farther, another image is farthest."""
    image = wide_image()
    changed = Image.eval(image, lambda value: min(255, value + 4))
    other = draw("polka_dots", np.random.default_rng(1), 96)
    rows = [describe(drawn).astype(float) for drawn in (image, changed, ImageOps.mirror(image), other)]
    close, mirrored, far = (np.linalg.norm(rows[0] - row) for row in rows[1:])
    assert close < mirrored < far


def test_large_images_are_reduced_first():
    """The same image at twice the size gives nearly the same numbers."""
    image = wide_image().resize((256, 110), Image.Resampling.BICUBIC)
    twice = image.resize((512, 220), Image.Resampling.BICUBIC)
    single, double = describe(image), describe(twice)
    stripes = describe(draw("stripes", np.random.default_rng(0)))
    assert np.linalg.norm(single - double) < 0.25 * np.linalg.norm(single - stripes)


def test_float16_storage_is_harmless(patterns):
    """Rows that were stored in half precision have a cosine over 0.999 with the exact ones after whitening."""
    rows = encode_images(ENCODER, patterns)
    transform = ENCODER.transform_fitter.fit(lambda: iter([rows]))
    stored = rows.astype(np.float16).astype(np.float32)
    assert (transform.transform(rows) * transform.transform(stored)).sum(axis=1).min() > 0.999


@pytest.mark.long
def test_accuracy_on_photographs(shared):
    """On a quarter of the clothing photographs it is far above chance (benchmarks/descriptor.py uses all)."""
    parts = []
    for part, step in (("train", 4), ("validation", 2)):
        dataset = scan_image_folder(shared / "data/clothing" / part)
        examples = dataset.examples[::step]
        images = read_images([dataset.root / example.path for example in examples], ImageLimits(), None, 2)
        rows = encode_images(ENCODER, [image.image for image in images])
        parts.append((rows, [example.label for example in examples]))
    (train, labels), (new, truth) = parts
    names = sorted(set(labels))
    transform = ENCODER.transform_fitter.fit(lambda: iter([train]))
    matrix = transform.transform(train)
    label_ids = np.array([names.index(label) for label in labels])
    chosen = TopKMeanPrototype(3, 0.05).scores(compare(matrix, transform.transform(new), label_ids)).argmax(axis=1)
    assert np.mean([names[number] == label for number, label in zip(chosen, truth)]) > 0.6
