"""`doctor` reads a whole table, and finds what is wrong with it."""

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.backends.lance_table import finishing
from lmm_classifier.index.backends.lance_table.table import LanceTable
from lmm_classifier.index.doctor import check_index
from tests.helpers.row_stores import chunk, manifest_of

pytest.importorskip("lance", reason="needs lance")


@pytest.fixture
def table(tmp_path):
    table = LanceTable.create(str(tmp_path / "t.lance"), manifest_of())
    table.commit({"a": chunk("a", 30), "b": chunk("b", 30, label="dog")})
    table.finish()
    return table


def test_a_sound_table(table):
    """Nothing is found; chunks that came later are a note."""
    assert check_index(table.url) == []
    table.commit({"c": chunk("c", 3)})
    (finding,) = check_index(table.url)
    assert finding.severity == "note"
    assert "chunks came after" in finding.what


def test_chunks_that_are_not_wanted_any_more(table):
    """An update of the dataset leaves them behind: the table is sound."""
    table.commit({"c": chunk("c", 3)})
    table.finish({"a", "c"})
    assert check_index(table.url) == []


def test_a_file_of_the_rows_is_missing_or_damaged(table, tmp_path):
    """It is damage, not an exception."""
    (file,) = (tmp_path / "t.lance/rows.lance/data").iterdir()
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert [finding.severity for finding in check_index(table.url)] == ["damage"]
    file.unlink()
    (finding,) = check_index(table.url)
    assert "cannot be read" in finding.what


def test_rows_that_do_not_fit_their_description(table, monkeypatch):
    """Another program rewrote them."""
    found = finishing.finished(table.url)[0]
    rows = found.to_table()
    order = np.random.default_rng(0).permutation(len(rows))[:50]
    import lance

    dataset = lance.write_dataset(rows.take(order), found.uri, mode="overwrite", schema=found.schema)
    finishing.mark_finished(dataset)
    text = " ".join(finding.what for finding in check_index(table.url))
    for part in ("order of label and content", "it has 50 rows, but 60 were written", "50 examples, but 60"):
        assert part in text


def test_there_is_no_table(tmp_path):
    """The place is named."""
    with pytest.raises(IndexFileError, match=r"no finished table at .*none\.lance"):
        check_index(tmp_path / "none.lance")
