"""Discovery on images and on vectors: groups, the rest, and nothing lost."""

import json
import shutil

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.discovery.proposals.discover import discover
from lmm_classifier.discovery.unlabeled import UnlabeledImages
from tests.discovery.vector_images import LABELS, classifier_of, clusters, images_of

SIZES = {"a": 25, "b": 20, "d": 14, "e": 11}


def counted(found):
    return sum(len(group.members) for group in found.groups) + sum(found.known.values()) + len(found.remainder)


def test_new_labels_are_found():
    """Each group is one label, its members from the center to the rim, and what is shown is spread over them."""
    with classifier_of() as classifier:
        images, labels = images_of(classifier, SIZES)
        found = discover(images, classifier)
    assert [{labels[int(name)] for name in group.members} for group in found.groups] == [{"d"}, {"e"}]
    assert found.about == 2
    tested = [{labels[int(name)] for name in group.members} for group in found.tested_groups]
    assert {"d"} in tested
    assert {"e"} in tested
    assert counted(found) == found.images == sum(SIZES.values())
    group = found.groups[0]
    assert group.shown[0] == group.members[0]
    assert group.shown[-1] == group.members[-1]
    assert len(group.shown) == 6
    assert group.representative in group.members
    assert group.nearest_label in LABELS
    rows = images.mapped[[int(name) for name in group.members]]
    center = rows.mean(axis=0)
    cosines = rows @ center
    assert cosines[0] > cosines[-1]
    values = json.loads(json.dumps(found.to_dict()))
    assert values["groups"][0]["size"] == len(group.members)
    assert "purity" not in json.dumps(values)


def test_the_order_of_the_images_changes_nothing():
    """All of the result is the same."""
    vectors, _ = clusters(SIZES, seed=4)
    names = [f"{row:03}" for row in range(len(vectors))]
    shuffled = np.random.default_rng(0).permutation(len(vectors))
    with classifier_of() as classifier:
        first, second = (
            discover(UnlabeledImages.of_vectors([names[row] for row in rows], vectors[rows], classifier), classifier)
            for rows in (np.arange(len(vectors)), shuffled)
        )
    assert first.to_dict() == second.to_dict()


def test_copies_stay_together():
    """An image and its copies are in one group."""
    vectors, labels = clusters({"a": 20, "d": 8}, seed=5)
    vectors, labels = np.concatenate([vectors, vectors[labels.index("d") :]]), [*labels, *["d"] * 8]
    with classifier_of() as classifier:
        images = UnlabeledImages.of_vectors([f"{row:03}" for row in range(len(labels))], vectors, classifier)
        found = discover(images, classifier)
    assert sorted(found.groups[0].members) == [f"{row:03}" for row, label in enumerate(labels) if label == "d"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_image(count):
    """No group, and each image is somewhere."""
    with classifier_of() as classifier:
        found = discover(images_of(classifier, {"d": count})[0], classifier)
    assert (found.groups, found.images, counted(found)) == ([], count, count)


def test_one_known_label():
    """An index of one label, even of one image, has something to compare with."""
    for examples in (20, 1):
        with classifier_of({"a": examples}) as classifier:
            images, labels = images_of(classifier, {"a": 20, "d": 12})
            found = discover(images, classifier, groups=1)
        assert counted(found) == 32
        if examples == 20:
            assert {labels[int(name)] for name in found.groups[0].members} == {"d"}


def test_equal_vectors():
    """An index of equal vectors and equal images end in no error."""
    with classifier_of() as classifier:
        vector = np.repeat(clusters({"d": 1})[0], 40, axis=0)
        images = UnlabeledImages.of_vectors([f"{row:03}" for row in range(40)], vector, classifier)
        assert [len(group.members) for group in discover(images, classifier).groups] == [40]
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.index.vector_index import Index
    from lmm_classifier.pipeline.classifier import HybridClassifier

    index = Index.from_vectors(vector, ["a", "b"] * 20)
    with HybridClassifier(PipelineConfig.preset("vectors"), index=index) as classifier:
        images = UnlabeledImages.of_vectors([f"{row:03}" for row in range(40)], vector, classifier)
        assert counted(discover(images, classifier)) == 40


def test_the_number_of_groups(drawn):
    """It is at least 1; a given one is used and told."""
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        discover(drawn.new, drawn.classifier, groups=0)
    assert discover(drawn.new, drawn.classifier, groups=3).about == 3


def test_a_folder(drawn):
    """Names are paths, which lead to the images."""
    found = discover(drawn.new, drawn.classifier)
    assert counted(found) == found.images == 28
    assert set(found.places) == {str(path) for path in drawn.new.rglob("*.png")}
    assert len(found.hashes) == 28


@pytest.mark.long
def test_memory_is_bounded():
    """100,000 images of 256 numbers take less than five times their vectors, and 800 MB besides."""
    import tracemalloc

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100_050, 256)).astype(np.float32)
    vectors[:20_000] += 2 * rng.normal(size=256).astype(np.float32)
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.index.vector_index import Index
    from lmm_classifier.pipeline.classifier import HybridClassifier

    known = rng.normal(size=(4, 256))[np.arange(400) % 4] * 2 + rng.normal(size=(400, 256))
    index = Index.from_vectors(known, [f"label{row % 4}" for row in range(400)])
    names = [f"{row:06}" for row in range(len(vectors))]
    with HybridClassifier(PipelineConfig.preset("vectors"), index=index) as classifier:
        tracemalloc.start()
        found = discover(UnlabeledImages.of_vectors(names, vectors, classifier), classifier)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (found.images, found.sampled_out) == (100_000, 50)
    grouped = [int(name) for group in found.groups for name in group.members]
    assert sum(number < 20_000 for number in grouped) > 15_000  # those of the new label, whose groups may be several
    assert peak < 5 * vectors.nbytes + 800e6


def test_copies_make_no_label(drawn, tmp_path):
    """One image that comes eight times is one image; where its kind is a group, all its copies are in it."""
    new = sorted((drawn.new / "argyle").glob("*.png"))
    for number in range(8):
        shutil.copy(new[0], tmp_path / f"copy{number}.png")
    found = discover(tmp_path, drawn.classifier, groups=1)
    assert (found.groups, found.tested_groups, found.images, counted(found)) == ([], [], 8, 8)
    for image in new[1:]:
        shutil.copy(image, tmp_path)
    (group,) = discover(tmp_path, drawn.classifier, groups=1).groups
    copies = {str(tmp_path / f"copy{number}.png") for number in range(8)}
    assert len(copies & set(group.members)) in (0, 8)
    assert len(group.members) == len(set(group.members))
    assert counted(discover(tmp_path, drawn.classifier)) == 15
