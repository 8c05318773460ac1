"""What a writer does with a table beyond chunks: old versions are deleted, and nothing that readers need."""

from datetime import timedelta

import numpy as np
import pytest

from lmm_classifier import Index
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.backends.lance_table import finishing
from lmm_classifier.index.backends.lance_table.table import LanceTable
from tests.helpers.row_stores import chunk, manifest_of, stored_rows

pytest.importorskip("lance", reason="needs lance")


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_old_versions_are_deleted(tmp_path, monkeypatch):
    """The rows stay, also where another version was begun and never finished."""
    table = LanceTable.create(str(tmp_path / "t.lance"), manifest_of())
    for name in "abc":
        table.commit({name: chunk(name, 200)})
        table.finish()
    rows = stored_rows(table.url)
    table.commit({"d": chunk("d", 200)})
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "mark_finished", lambda dataset: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            table.finish()
    assert table.clean_up() == 0, "a version of today was deleted"
    before = size(tmp_path)
    assert 0 < table.clean_up(timedelta(0)) <= before - size(tmp_path) + 4096
    assert stored_rows(table.url) == rows
    assert table.committed_chunks() == set("abcd")
    table.finish()
    assert len(stored_rows(table.url)) == 800


@pytest.mark.parametrize("name", ["durable", "index.npz", "a file"])
def test_the_place_of_another_index_is_refused(tmp_path, name):
    """A table there would hide it, with what was edited by hand."""
    place = tmp_path / name
    if name == "durable":
        Index.from_vectors(np.eye(3), ["cat", "dog", "cat"]).save(place)
    elif name == "a file":
        place.write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(IndexFileError, match="no table. Nothing was changed. Choose another output"):
        LanceTable.create(str(place), manifest_of())
    assert sorted(tmp_path.rglob("*")) == before
