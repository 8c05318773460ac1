"""Duplicates are found by their bytes and by their similarity."""

import numpy as np
import pytest

from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.evaluation import duplicates
from lmm_classifier.evaluation.duplicates import find_duplicates
from lmm_classifier.testing import clustered_embeddings
from tests.evaluation.indexes import index_of

LABELS = ["a"] * 50 + ["b"] * 40


def test_contradictions_first_then_same_bytes_then_near_duplicates(tmp_path):
    """The same bytes under two labels come first. A chain of similar images is one group."""
    vectors = clustered_embeddings(np.random.default_rng(0), LABELS, 24, spread=0.7)
    hashes = [f"{number:064x}" for number in range(len(LABELS))]
    hashes[1], vectors[1] = hashes[0], vectors[0]
    hashes[60], vectors[60] = hashes[2], vectors[2]
    for row in (11, 12):
        near = vectors[10] + 0.02 * vectors[row]
        vectors[row] = near / np.linalg.norm(near)
    groups = find_duplicates(index_of(tmp_path / "i.npz", vectors, LABELS, hashes), ImagesConfig(), 0.995)
    assert [(group.paths, group.exact, group.contradict) for group in groups] == [
        (("a/2.jpg", "b/60.jpg"), True, True),
        (("a/0.jpg", "a/1.jpg"), True, False),
        (("a/10.jpg", "a/11.jpg", "a/12.jpg"), False, False),
    ]
    cosines = vectors[10:13] @ vectors[10:13].T
    assert groups[2].similarity == cosines.min()


def test_the_ends_of_a_chain_need_not_be_similar(tmp_path):
    """Single linkage: the first and the last image of a chain are in one group, through the one between them."""
    angles = np.radians([0, 10, 20, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    groups = find_duplicates(
        index_of(tmp_path / "i.npz", vectors, ["a", "a", "b", "b"]), ImagesConfig(), np.cos(np.radians(11))
    )
    assert [group.paths for group in groups] == [("a/0.jpg", "a/1.jpg", "b/2.jpg")]
    assert groups[0].contradict


def test_no_duplicates(tmp_path):
    """Different images form no group."""
    vectors = np.eye(4, dtype=np.float32)
    assert find_duplicates(index_of(tmp_path / "i.npz", vectors, ["a", "a", "b", "b"]), ImagesConfig(), 0.5) == []


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def photographs(tmp_path):
    """An index of 80 examples with files: 0 was saved again as 1, 2 and 3 have equal vectors, 4 and 5 as well.

    The files of 4, 6 and 7 are missing; the vectors of 6 and 7 are different.
    """
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(80, 16)))
    vectors[3], vectors[5] = vectors[2], vectors[4]
    (tmp_path / "a").mkdir()
    for number in {*range(12)} - {1, 4, 6, 7}:
        image = draw("polka_dots", rng, 96)
        image.save(tmp_path / "a" / f"{number}.jpg", quality=90)
        if number == 0:
            image.save(tmp_path / "a" / "1.jpg", quality=70)
    return index_of(tmp_path / "i.npz", vectors, ["a"] * 80, root=tmp_path)


def found(index):
    return [(group.paths, group.compared, group.exact) for group in find_duplicates(index, ImagesConfig())]


def test_pixels_decide_and_vectors_where_a_file_cannot_be_read(photographs):
    """Equal vectors of images that can be read and differ are no duplicates."""
    groups = find_duplicates(photographs, ImagesConfig())
    assert found(photographs) == [
        (("a/0.jpg", "a/1.jpg"), "pixels", False),
        (("a/4.jpg", "a/5.jpg"), "vectors", False),
    ]
    embeddings = photographs.gallery.embeddings
    assert groups[0].similarity == float(embeddings[0] @ embeddings[1])
    assert groups[1].similarity == pytest.approx(1)


def test_of_many_examples_the_vectors_alone_are_compared(photographs, monkeypatch):
    """One more than the most whose pixels are compared."""
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 80)
    assert found(photographs)[0][1] == "pixels"
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 79)
    assert found(photographs) == [
        (("a/2.jpg", "a/3.jpg"), "vectors", False),
        (("a/4.jpg", "a/5.jpg"), "vectors", False),
    ]


@pytest.mark.parametrize("near_duplicate", [None, 0.99])
def test_a_similarity_is_at_most_1(tmp_path, near_duplicate):
    """Rounding lifts the product of some equal vectors above it."""
    vectors = np.repeat(unit(np.random.default_rng(0).normal(size=(40, 16))), 2, axis=0)
    groups = find_duplicates(index_of(tmp_path / "i.npz", vectors, ["a"] * 80), ImagesConfig(), near_duplicate)
    assert len(groups) == 40
    assert all(0.99999 < group.similarity <= 1 for group in groups)
    assert {group.compared for group in groups} == {"vectors"}


def test_one_file_stands_for_those_of_its_bytes(tmp_path):
    """The first one of them; a limit that is just reached counts."""
    vectors = np.array([[1, 0], [1, 0], [0.5, 0.75**0.5], [-1, 0]], np.float32)
    hashes = [f"{number:064x}" for number in (0, 0, 1, 2)]
    groups = find_duplicates(index_of(tmp_path / "i.npz", vectors, ["a"] * 4, hashes), ImagesConfig(), 0.5)
    assert [(group.paths, group.similarity, group.exact) for group in groups] == [
        (("a/0.jpg", "a/1.jpg"), 1.0, True),
        (("a/0.jpg", "a/2.jpg"), 0.5, False),
    ]
