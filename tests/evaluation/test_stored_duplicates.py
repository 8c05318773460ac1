"""Duplicates in a store: as in memory, or of a sample where there are too many rows."""

import numpy as np
import pytest

from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.evaluation import stored_duplicates
from lmm_classifier.evaluation.duplicates import find_duplicates
from lmm_classifier.evaluation.stored_duplicates import find_stored_duplicates
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.testing import clustered_embeddings
from tests.evaluation.indexes import index_of

LABELS = ["a"] * 500 + ["b"] * 400


@pytest.fixture
def index(tmp_path):
    """0 and 1 have the same bytes, so have 2 of a and 600 of b, twice; 10 to 12 are near to each other."""
    vectors = clustered_embeddings(np.random.default_rng(0), LABELS, 24, spread=0.7)
    hashes = [f"{number:064x}" for number in range(len(LABELS))]
    for copy, of in ((1, 0), (600, 2), (601, 2)):
        hashes[copy], vectors[copy] = hashes[of], vectors[of]
    for row in (11, 12):
        near = vectors[10] + 0.002 * vectors[row]
        vectors[row] = near / np.linalg.norm(near)
    return index_of(tmp_path / "i.npz", vectors, LABELS, hashes)


GROUPS = [
    (("a/2.jpg", "b/600.jpg", "b/601.jpg"), ("a", "b", "b"), True),
    (("a/0.jpg", "a/1.jpg"), ("a", "a"), True),
    (("a/10.jpg", "a/11.jpg", "a/12.jpg"), ("a", "a", "a"), False),
]


def stored(index):
    return StoreIndex(MemoryRowStore(index), index.contents)


@pytest.mark.parametrize("near_duplicate", [None, 0.999])
def test_few_rows_are_compared_as_in_memory(index, near_duplicate):
    """The same groups, also of copies that are one row of the store."""
    found, searched = find_stored_duplicates(stored(index), np.array([3]), ImagesConfig(), near_duplicate)
    assert found == find_duplicates(index, ImagesConfig(), near_duplicate)
    assert [(group.paths, group.labels, group.exact) for group in found] == GROUPS
    assert searched == len(LABELS) - 2


@pytest.mark.parametrize("near_duplicate", [None, 0.999])
def test_a_sample_finds_the_duplicates_of_its_rows(index, near_duplicate, monkeypatch):
    """Among all rows; what is a duplicate of no row of the sample is not found, and the number is told."""
    monkeypatch.setattr(stored_duplicates, "MOST_COMPARED", 800)
    index, steps = stored(index), []
    number = {paths[0]: row for block in index.store.blocks(("paths",)) for row, *paths in zip(block.ids, block.paths)}
    every = np.arange(len(index))
    found, searched = find_stored_duplicates(index, every, ImagesConfig(), near_duplicate, steps.append)
    assert [(group.paths, group.labels, group.exact) for group in found] == GROUPS
    assert searched == steps[-1].done == steps[-1].total == len(index)
    others = np.delete(every, [number[f"a/{row}.jpg"] for row in (0, 10, 11, 12)])
    found, searched = find_stored_duplicates(index, others, ImagesConfig(), near_duplicate)
    assert [(group.paths, group.exact) for group in found] == [(GROUPS[0][0], True)]
    assert searched == len(others)
    one = np.append(others, number["a/12.jpg"])
    found, _ = find_stored_duplicates(index, one, ImagesConfig(), near_duplicate)
    assert [group.paths for group in found] == [GROUPS[0][0], GROUPS[2][0]]


def test_the_dismissals_are_those_in_memory(index, monkeypatch):
    """So a finding that was dismissed stays so, however many rows there are."""
    expected = {group.dismissal for group in find_duplicates(index, ImagesConfig(), 0.999)}
    monkeypatch.setattr(stored_duplicates, "MOST_COMPARED", 1)
    rows = stored(index)
    found, _ = find_stored_duplicates(rows, np.arange(len(rows)), ImagesConfig(), 0.999)
    assert {group.dismissal for group in found} == expected
