"""Unlabeled images are encoded and voted on; none is lost silently."""

import shutil

import numpy as np
import pytest

from lmm_classifier.core.errors import Cancelled, DatasetError, VectorError
from lmm_classifier.discovery.proposals.discover import discover
from lmm_classifier.discovery.suggestions.suggest import suggest
from lmm_classifier.discovery.unlabeled import UnlabeledImages, encoder_places, sample_of
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.discovery.vector_images import LABELS, classifier_of, clusters, images_of
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, draw_sides


def test_votes_are_those_of_classify(drawn):
    """By name, in the order of the names."""
    found = UnlabeledImages.find(drawn.new, drawn.classifier)
    assert list(found.names) == sorted(found.names)
    assert (len(found), found.found, found.labeled, found.sampled_out) == (28, 28, 0, 0)
    results = list(drawn.classifier.classify_paths(found.places))
    assert [result.label for result in results] == list(found.votes.results)
    np.testing.assert_allclose([result.familiarity for result in results], found.votes.familiarity, atol=1e-9)
    assert [result.content_hash for result in results] == list(found.hashes)
    np.testing.assert_allclose(np.linalg.norm(found.mapped, axis=1), 1, atol=1e-5)


def test_labeled_and_unreadable_images_are_counted(drawn, tmp_path):
    """Those that the index holds are left out, and files that are no images are named."""
    folder = tmp_path / "mixed"
    shutil.copytree(drawn.new / "argyle", folder)
    shutil.copy(drawn.root / "dataset/stripes/00.png", folder / "labeled.png")
    (folder / "broken.png").write_bytes(b"no image")
    found = UnlabeledImages.find(folder, drawn.classifier)
    assert (len(found), found.found, found.labeled) == (8, 10, 1)
    assert [(file.path, file.failed) for file in found.skipped] == [(str(folder / "broken.png"), True)]


def test_a_sample_takes_part(drawn):
    """It is always the same, whatever the order; and the rest is counted."""
    found = UnlabeledImages.find(drawn.new, drawn.classifier, most=10)
    places = sorted(found.places, reverse=True)
    everything = UnlabeledImages.find(drawn.new, drawn.classifier).places
    again = UnlabeledImages.of(everything[::-1], drawn.classifier, most=10)
    assert (len(found), found.found, found.sampled_out) == (10, 28, 18)
    assert sorted(again.places, reverse=True) == places
    assert sample_of(["b", "a"], 2) == ["b", "a"]


def test_sources_without_an_image_are_refused(drawn, tmp_path):
    """The message says what was expected."""
    with pytest.raises(DatasetError, match=r"does not exist|is missing|no such|No such"):
        UnlabeledImages.find(tmp_path / "nothing", drawn.classifier)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="expected image files"):
        UnlabeledImages.find(tmp_path / "empty", drawn.classifier)


def test_a_run_can_be_stopped(drawn):
    """The progress counts all images, and an error in it ends the run."""
    seen = []
    UnlabeledImages.find(drawn.new, drawn.classifier, seen.append)
    assert (seen[-1].done, seen[-1].total) == (28, 28)

    def stop(progress):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        UnlabeledImages.find(drawn.new, drawn.classifier, stop)


def test_vectors_alone():
    """They are voted on as images are; names and vectors must fit, and NaN is refused."""
    with classifier_of() as classifier:
        images, labels = images_of(classifier, {"a": 4, "c": 3})
        assert [images.votes.labels[label] for label in images.votes.label_ids] == labels
        vectors, _ = clusters(dict.fromkeys(LABELS, 2))
        with pytest.raises(VectorError, match="6 vectors and 5 names"):
            UnlabeledImages.of_vectors([f"{row}" for row in range(5)], vectors, classifier)
        with pytest.raises(VectorError, match="different names"):
            UnlabeledImages.of_vectors(["same"] * 6, vectors, classifier)
        vectors[3, 2] = np.nan
        with pytest.raises(VectorError, match="row 3 holds NaN"):
            UnlabeledImages.of_vectors([f"{row}" for row in range(6)], vectors, classifier)
        assert len(UnlabeledImages.of_vectors([], np.empty((0, 24)), classifier)) == 0


def test_several_encoders_are_fused(tmp_path):
    """Each has its vectors, and the cosine is that of all of them."""
    from lmm_classifier.index.build.builder import build_index_from_directory
    from tests.helpers.datasets import offline_config

    draw_sides(tmp_path / "dataset")
    draw_sides(tmp_path / "new", count=3, seed=1)
    config = offline_config(tmp_path / "index", rerank__enabled=False)
    encoders = [ColorEncoder(), LayoutEncoder()]
    build_index_from_directory(tmp_path / "dataset", tmp_path / "index", config=config, encoder=encoders)
    with HybridClassifier(config, encoders) as classifier:
        found = UnlabeledImages.find(tmp_path / "new", classifier)
    assert encoder_places(found.flow) == (0, 1)
    assert [part.shape for part in found.embeddings] == [(12, 64), (12, 36)]
    assert found.mapped.shape == (12, 100)
    assert sum(found.landscape.space.weights) == pytest.approx(1)


@pytest.mark.long
def test_a_folder_without_a_readable_image(drawn, tmp_path):
    """Nothing takes part, in a small batch as in a large one, and every file is named with its reason once."""
    for number in range(1200):
        (tmp_path / f"{number:04}.png").write_bytes(b"no image")
    found = UnlabeledImages.find(tmp_path, drawn.classifier)
    assert (len(found), found.found, len(found.skipped)) == (0, 1200, 1200)
    assert found.skipped[0].path not in found.skipped[0].reason
    assert discover(found, drawn.classifier).groups == []
    assert suggest(found, drawn.classifier).suggestions == []
    shutil.copy(next((drawn.new / "argyle").glob("*.png")), tmp_path)
    assert len(UnlabeledImages.find(tmp_path, drawn.classifier)) == 1
