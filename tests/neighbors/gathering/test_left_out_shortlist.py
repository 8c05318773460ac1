"""Leave-one-out through a shortlist goes block by block; its cosines are tested with those who use them."""

import numpy as np

from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.gathering import left_out_shortlist as module
from lmm_classifier.neighbors.gathering.left_out_shortlist import LeftOutShortlist, left_out_blocks
from lmm_classifier.testing import random_embeddings


def test_blocks_are_as_large_as_memory_allows(monkeypatch):
    """Many labels make them small; every row comes once, in order."""
    gallery = Gallery(random_embeddings(np.random.default_rng(0), 60, 8), np.arange(60) % 3, 3)
    monkeypatch.setattr(module, "_MOST_AT_ONCE", 21)
    asked = []

    def find_rows(rows):
        asked.append(len(rows))
        return [np.arange(5)] * len(rows)

    shortlist = LeftOutShortlist(gallery)
    blocks = list(left_out_blocks(shortlist, shortlist, find_rows, np.arange(10, 30), 3))
    assert asked == [7, 7, 6]
    assert np.concatenate([rows for rows, _, _ in blocks]).tolist() == list(range(10, 30))
    assert all(len(plain) == len(mapped) == len(rows) for rows, plain, mapped in blocks)
