"""The settings decide whether the rows of an index are read into memory or left in a store."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.embeddings.whitening import BlockWhiteningFitter, IdentityTransform
from lmm_classifier.index import opening as module
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.opening import open_searched, uses_store
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.testing import random_embeddings
from tests.helpers.vector_indexes import write_encoders


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


def test_what_a_table_knows_apart_from_its_rows_is_not_lost(index, tmp_path):
    """Dismissed findings, and how long the encoder takes."""
    pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
    dismissed = Dismissal.of("label", [(index.hashes[0], "cat")])
    space = index.manifest.space_ids[0]
    contents = replace(index.contents, dismissals=[dismissed], milliseconds={space: 7.5})
    write_index(tmp_path / "index.lance", contents)
    (opened,) = open_searched(RetrievalConfig(index_path=tmp_path / "index.lance", search="store"))
    assert list(opened.contents.dismissals) == [dismissed]
    assert opened.contents.milliseconds == {space: 7.5}


@pytest.mark.parametrize("kind", ["index", "index.lance"])
def test_each_encoder_has_a_store_of_its_vectors(tmp_path, kind):
    """The rows of all of them are the same; of an index and of a table."""
    vectors = [np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.eye(5, dtype=np.float32)[[4, 3, 2, 1]]]
    path = write_encoders(tmp_path / "index", ["cat", "dog", "cat", "dog"], vectors)
    if kind == "index.lance":
        pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
        Index.open(path).save(tmp_path / kind)
    opened = open_searched(RetrievalConfig(index_path=tmp_path / kind, search="store"))
    assert [index.encoder for index in opened] == [0, 1]
    assert [index.store.means.shape for index in opened] == [(2, 3), (2, 5)]
    for index, rows in zip(opened, vectors):
        found = index.store.rows_of_ids(np.arange(4), ("vectors", "contents"))
        expected = {f"{number:064x}": row for number, row in enumerate(rows)}
        assert {content: row.tolist() for content, row in zip(found.contents, found.vectors)} == {
            content: row.tolist() for content, row in expected.items()
        }
    assert len({index.store.version for index in opened}) == 2


@pytest.mark.parametrize("kind", ["index", "index.lance"])
def test_a_fitted_transform_is_refused_by_name(tmp_path, kind):
    """Of any encoder: its vectors are compared after a transform of all rows."""
    rng = np.random.default_rng(0)
    plain, raw = (rng.normal(size=(20, 8)).astype(np.float32) for _ in range(2))
    transforms = [IdentityTransform(), BlockWhiteningFitter((7,), (1.0,), 0.5).fit(lambda: [raw])]
    each = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (plain, raw)]
    path = write_encoders(tmp_path / "index", ["cat", "dog"] * 10, each, transforms=transforms)
    if kind == "index.lance":
        pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
        Index.open(path).save(tmp_path / kind)
    with pytest.raises(ConfigError, match=r"a transform that was fitted.*search: exact"):
        open_searched(RetrievalConfig(index_path=tmp_path / kind, search="store"))
