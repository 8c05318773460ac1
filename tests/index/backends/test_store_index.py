"""An index over a store reads an example when it is asked for, and refuses by name what needs all of them."""

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import random_embeddings


@pytest.fixture
def stored():
    rows = random_embeddings(np.random.default_rng(0), 9, 8)
    index = Index.from_vectors(rows, ["cat"] * 5 + ["dog"] * 4, [f"{number}.jpg" for number in range(9)])
    return StoreIndex(MemoryRowStore(index), index.contents)


def test_examples_are_read_by_id(stored):
    """One, some, or all of them; with their similarity as neighbors."""
    assert len(stored) == len(stored.examples) == len(list(stored.examples)) == 9
    assert [example.label for example in stored.examples[3:7]] == ["cat", "cat", "dog", "dog"]
    assert stored.examples[8] == list(stored.examples)[8]
    neighbors = stored.neighbors(np.array([8, 0]), np.array([0.5, 0.25]))
    assert [(n.example, n.similarity) for n in neighbors] == [(stored.examples[8], 0.5), (stored.examples[0], 0.25)]
    assert stored.neighbors(np.empty(0, np.int64), np.empty(0)) == []


def test_rows_of_a_content(stored):
    """By its hash; none for None or a content that is not there."""
    contents = stored.store.rows_of_ids(np.array([4, 7]), ("contents",)).contents
    rows = stored.rows_with_hash([contents[1], None, "0" * 64, contents[0]])
    assert [part.tolist() for part in rows] == [[7], [], [], [4]]
    assert [part.tolist() for part in stored.rows_with_hash([None])] == [[]]


@pytest.mark.parametrize(
    "use",
    [
        lambda index: index.gallery,
        lambda index: index.hashes,
        lambda index: index.vectors(),
        lambda index: index.only(["cat"]),
        lambda index: index.without(np.array([1])),
        lambda index: index.compare(random_embeddings(np.random.default_rng(0), 1, 8)),
    ],
)
def test_what_needs_all_rows_is_refused(stored, use):
    """The message says how many there are, and what to set."""
    with pytest.raises(ConfigError, match=r"all 9 examples in memory.*retrieval\.search: exact"):
        use(stored)
