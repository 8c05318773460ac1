"""The settings decide whether the rows of an index are read into memory or left in a store."""

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.index import opening as module
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.opening import open_searched, uses_store
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.testing import random_embeddings


@pytest.fixture
def index():
    return Index.from_vectors(random_embeddings(np.random.default_rng(0), 9, 8), ["cat"] * 5 + ["dog"] * 4)


def test_an_index_of_one_machine_is_in_memory_by_default(index, tmp_path):
    """Only `store` leaves its rows in a store, whatever their number."""
    index.save(tmp_path / "index")
    for search, kind in [("auto", Index), ("exact", Index), ("store", StoreIndex)]:
        (opened,) = open_searched(RetrievalConfig(index_path=tmp_path / "index", search=search))
        assert type(opened) is kind
        assert len(opened) == 9


def test_of_a_large_table_the_rows_stay_in_it(index, tmp_path, monkeypatch):
    """`auto` takes the store from a number of rows on; nothing of a row is in memory then."""
    pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
    path = tmp_path / "index.lance"
    index.save(path)
    assert not uses_store(RetrievalConfig(), path)
    monkeypatch.setattr(module, "STORE_FROM", 9)
    assert uses_store(RetrievalConfig(), path)
    assert not uses_store(RetrievalConfig(search="exact"), path)
    (opened,) = open_searched(RetrievalConfig(index_path=path))
    assert isinstance(opened, StoreIndex)
    assert (len(opened), list(opened.label_names)) == (9, ["cat", "dog"])
    assert (len(opened.contents.hashes), len(opened.contents.labels)) == (0, 2)
    assert opened.contents.stamp.startswith(opened.store.version)


def test_several_encoders_are_refused_by_name(index, tmp_path, monkeypatch):
    """A store takes one encoder."""
    index.save(tmp_path / "index")
    monkeypatch.setattr(Index, "open_each", lambda _: (index, index))
    with pytest.raises(ConfigError, match=r"2 encoders.*search: exact"):
        open_searched(RetrievalConfig(index_path=tmp_path / "index", search="store"))
