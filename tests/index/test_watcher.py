"""A change of a durable index is detected once."""

import shutil

import numpy as np

from lmm_classifier.index.storage.database import FILE
from lmm_classifier.index.storage.salvage import salvage
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


def test_another_database_in_its_place_is_a_change(tmp_path):
    """A repair and a new build put another file there; commits to that file are detected too."""
    vectors = random_embeddings(np.random.default_rng(0), 10, 8)
    folder = write(tmp_path / "index", vectors)
    watcher = IndexWatcher(folder)
    salvage(folder)
    assert watcher.changed()
    assert not watcher.changed()
    with Store(folder) as store:
        add(store, [20])
    assert watcher.changed()
    shutil.rmtree(folder)
    assert watcher.changed()
    assert not watcher.changed()
    write(folder, vectors)
    assert watcher.changed()


def test_a_change_of_a_file_that_cannot_be_read_is_detected(tmp_path):
    """So that whoever could not open it tries again."""
    folder = write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 10, 8))
    sound = (folder / FILE).read_bytes()
    watcher = IndexWatcher(folder)
    (folder / FILE).unlink()
    (folder / FILE).write_bytes(b"nonsense" * 100)
    assert watcher.changed()
    assert not watcher.changed()
    (folder / FILE).write_bytes(sound)
    assert watcher.changed()
