"""A change of a durable index is noticed, once, whoever makes it."""

import numpy as np

from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.watcher import Watch
from lmm_classifier.testing import unit_rows
from tests.contracts.test_index import write
from tests.index.storage.test_store import add


def test_commits_are_noticed_once(tmp_path):
    """Each commit since the last question counts, however many there were."""
    folder = write(tmp_path / "index", unit_rows(np.random.default_rng(0), 10, 8))
    watch = Watch(folder)
    assert not watch.changed()
    with Store(folder) as store:
        add(store, [20])
        add(store, [21])
    assert watch.changed()
    assert not watch.changed()


def test_what_cannot_change(tmp_path):
    """A file, a broken index, and none at all never change."""
    write(tmp_path / "index.npz", unit_rows(np.random.default_rng(0), 4, 8))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.sqlite").write_bytes(b"nonsense" * 100)
    for name in ("index.npz", "broken", "nowhere"):
        assert not Watch(tmp_path / name).changed()
