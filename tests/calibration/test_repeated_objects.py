"""Many images of few objects are told from independent images by the distances within labels alone."""

import numpy as np
import pytest

from lmm_classifier.calibration.repeated_objects import RepeatedObjects, _sample
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.opening import open_encoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.vector_indexes import object_embeddings


def measured(embeddings, labels):
    names, label_ids = np.unique(labels, return_inverse=True)
    return RepeatedObjects.of(Gallery(embeddings, label_ids.astype(np.int64), len(names)))


@pytest.mark.parametrize("images", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_several_images_of_an_object_are_found(images, noise):
    """Whatever their number: the ratio falls at another neighbor."""
    embeddings, labels, _ = object_embeddings(np.random.default_rng(1), 3, max(60 // images, 8), images, 64, noise)
    assert measured(embeddings, labels).likely


@pytest.mark.parametrize("dim", [48, 512])
@pytest.mark.parametrize("count", [9, 30, 200])
def test_independent_images_raise_no_alarm(dim, count):
    """Distances grow as fast near an example as farther out, and faster at the edge of the label."""
    for seed in range(5):
        labels = ["a"] * count + ["b"] * count
        embeddings = clustered_embeddings(np.random.default_rng(seed), labels, dim, 0.6)
        assert not measured(embeddings, labels).likely


def test_nothing_is_said_about_labels_of_few_images():
    """A label needs nine images."""
    embeddings, labels, _ = object_embeddings(np.random.default_rng(2), 3, 2, 4)
    found = measured(embeddings, labels)
    assert (dict(found.contrasts), found.highest, found.likely) == ({}, 0.0, False)


def test_copies_of_one_image_are_repeated_objects():
    """Also where all distances are zero."""
    embeddings = np.tile(np.eye(4, dtype=np.float32)[:2], (12, 1))
    assert measured(embeddings, ["a", "b"] * 12).likely
    assert measured(embeddings, ["a", "b"] * 12).highest == np.inf
    for seed in range(20):  # rounding makes some similarities a little more or less than 1
        rows = clustered_embeddings(np.random.default_rng(seed), ["a", "b"], 33, 1.0)
        assert measured(np.tile(rows, (12, 1)), ["a", "b"] * 12).likely


@pytest.mark.long
def test_drawn_patterns_are_independent_images_of_few_dimensions():
    """Each image is drawn anew, so the nearest ones are close, but those farther out are close too."""
    encoder = open_encoder(EncoderConfig(backend="descriptor"))
    labels = np.repeat(KNOWN[:4], 12)
    images = [draw(label, np.random.default_rng((5, number)), 48) for number, label in enumerate(labels)]
    embeddings = encode_images(encoder, images)
    assert not measured(embeddings, labels).likely
    views = [image.rotate(angle) for image in images[::3] for angle in (0, 2, 4)]
    assert measured(encode_images(encoder, views), labels).likely


def contrast_by_hand(embeddings, labels, step):
    """How much faster distances grow from neighbor `step` to 3 `step` + 1 than beyond, example by example."""
    near, far = [], []
    middle = 3 * step + 1
    for row, label in enumerate(labels):
        others = [n for n, name in enumerate(labels) if name == label and n != row]
        distances = np.sort(np.linalg.norm(embeddings[others].astype(float) - embeddings[row], axis=1))
        if len(others) >= max(8, 2 * middle):
            end = min(3 * middle, len(others))
            expected = [sum(1 / k for k in range(a, b)) for a, b in ((step, middle), (middle, end))]
            near.append(np.log(distances[middle - 1] / distances[step - 1]) / expected[0])
            far.append(np.log(distances[end - 1] / distances[middle - 1]) / expected[1])
    return float(np.median(near) / np.median(far))


@pytest.mark.parametrize(
    ("sizes", "steps"),
    [
        ((9, 9), [1]),
        ((9, 8), [1]),
        ((14, 14), [1]),
        ((15, 15), [1, 2]),
        ((15, 9, 8), [1, 2]),
        ((15, 9, 13), [1]),
        ((40, 25, 60), [1, 2, 4]),
    ],
)
def test_the_contrasts_equal_those_of_a_plain_search(sizes, steps):
    """Brute force at small n; a step counts where half of the examples have twice as many others as 3k + 1."""
    labels = [label for label, size in zip("abc", sizes) for _ in range(size)]
    embeddings = clustered_embeddings(np.random.default_rng(3), labels, 12, 1.0)
    found = measured(embeddings, labels)
    assert list(found.contrasts) == steps
    for step in steps:
        assert found.contrasts[step] == pytest.approx(contrast_by_hand(embeddings, labels, step), rel=1e-4)


def test_every_step_is_measured_in_a_large_label():
    """Objects of 2 to 49 images; of a large label only the nearest 147 others count."""
    labels = ["a"] * 170
    embeddings = clustered_embeddings(np.random.default_rng(4), labels, 12, 1.0)
    found = measured(embeddings, labels)
    assert list(found.contrasts) == [1, 2, 4, 8, 16]
    for step in found.contrasts:
        assert found.contrasts[step] == pytest.approx(contrast_by_hand(embeddings, labels, step), rel=1e-4)
    assert found.highest == max(found.contrasts.values())


def test_copies_in_a_label_take_no_part_where_all_are_one_image():
    """A label of copies has no distances; the contrast of the other label stands."""
    labels = ["a"] * 12 + ["b"] * 12
    embeddings = clustered_embeddings(np.random.default_rng(5), labels, 12, 1.0)
    embeddings[:12] = embeddings[0]
    assert measured(embeddings, labels).contrasts[1] == pytest.approx(
        contrast_by_hand(embeddings[12:], labels[12:], 1), rel=1e-4
    )


@pytest.mark.parametrize(
    ("contrasts", "likely"),
    [({}, False), ({1: 1.0}, False), ({1: 1.001}, True), ({1: 0.2, 4: 3.0}, True), ({1: 0.2, 4: 0.8}, False)],
)
def test_repeated_objects_are_likely_where_distances_grow_faster_near(contrasts, likely):
    """One step is enough, for the objects may have any number of images."""
    assert RepeatedObjects(contrasts).likely == likely


def test_a_large_dataset_is_sampled(monkeypatch):
    """Fewer examples are looked at, with nearly the same result."""
    labels = ["a"] * 150 + ["b"] * 150
    embeddings = clustered_embeddings(np.random.default_rng(6), labels, 12, 1.0)
    complete = measured(embeddings, labels).contrasts
    for name, value in (("_MOST_ROWS", 100), ("_MOST_PAIRS", 150 * 100)):
        with monkeypatch.context() as patch:
            patch.setattr(f"lmm_classifier.calibration.repeated_objects.{name}", value)
            sampled = measured(embeddings, labels).contrasts
        assert sampled.keys() == complete.keys()
        assert sampled != complete
        assert sampled[1] == pytest.approx(complete[1], abs=0.2)


def test_a_sample_has_distinct_rows_in_order():
    """Each is one of the given rows."""
    rows = np.arange(0, 300, 3)
    assert _sample(rows, 100) is rows
    some = _sample(rows, 99)
    assert len(some) == 99
    assert (np.diff(some) > 0).all()
    assert set(some) <= set(rows)


def test_a_fitted_transform_does_not_count(tmp_path):
    """The contrast is that of the vectors as the encoder made them, also where the index whitens them."""
    draw_dataset(tmp_path / "dataset", count=12, size=48)
    config = offline_config(tmp_path / "index")
    build_index_from_directory(tmp_path / "dataset", config=config, output_path=tmp_path / "index")
    index = Index.open(tmp_path / "index")
    plain = RepeatedObjects.of(Gallery(index.vectors(), index.label_ids, index.gallery.labels))
    found = RepeatedObjects.of_index(index)
    assert found == plain
    assert found.contrasts
    assert found.highest < RepeatedObjects.of(index.gallery).highest
    assert not found.likely
