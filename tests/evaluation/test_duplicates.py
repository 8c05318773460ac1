"""Duplicates are found by their bytes and by their similarity."""

import numpy as np

from lmm_classifier.data.config import ImagesConfig
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
