"""A change of a durable index is detected once."""

import numpy as np

from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.watcher import IndexWatcher
from lmm_classifier.testing import random_embeddings
from tests.contracts.test_index import write
from tests.index.storage.test_store import add


def test_commits_are_detected_once(tmp_path):
    """Several commits since the last call count as one change."""
    folder = write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 10, 8))
    watcher = IndexWatcher(folder)
    assert not watcher.changed()
    with Store(folder) as store:
        add(store, [20])
        add(store, [21])
    assert watcher.changed()
    assert not watcher.changed()


def test_a_file_a_broken_index_and_a_missing_one_never_change(tmp_path):
    """And they raise no error."""
    write(tmp_path / "index.npz", random_embeddings(np.random.default_rng(0), 4, 8))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.sqlite").write_bytes(b"nonsense" * 100)
    for name in ("index.npz", "broken", "nowhere"):
        assert not IndexWatcher(tmp_path / name).changed()
