"""Statistics stay with the version of a table; a table without them is read."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.backends.lance_table import finishing
from lmm_classifier.index.backends.lance_table.layout import STATISTICS, part
from lmm_classifier.index.backends.lance_table.named_arrays import put_arrays
from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore
from lmm_classifier.index.backends.lance_table.statistics.kept import statistics_of
from lmm_classifier.index.backends.lance_table.table import LanceTable
from tests.helpers.row_stores import chunk, manifest_of

pytest.importorskip("lance", reason="lance is not installed")


@pytest.fixture
def table(tmp_path):
    """Rows of three labels in four buckets."""
    table = LanceTable.create(str(tmp_path / "t"), manifest_of())
    table.commit({name: chunk(name, 40, label=label) for name, label in zip("abcd", ["cat", "cow", "dog", "dog"])})
    table.finish(bucket_bytes=32 * 60)
    return table


def check_same(found, expected):
    for one, other in (
        (found.counts, expected.counts),
        (found.plain.products, expected.plain.products),
        (found.lowest, expected.lowest),
    ):
        assert one.tobytes() == other.tobytes()
    np.testing.assert_allclose(found.plain.sums, expected.plain.sums, rtol=0, atol=1e-14)
    assert (found.rooted is None) == (expected.rooted is None)


def test_a_table_that_was_finished_without_them_is_read(table):
    """File by file, as workers would; so the bits are the same."""
    rows, about = finishing.finished(table.url)
    assert about.statistics > 0
    check_same(
        statistics_of(table.url, rows, replace(about, statistics=0), 0), LanceRowStore.open(table.url).statistics
    )


def test_they_are_read_and_not_made(table, monkeypatch):
    """With no row."""
    monkeypatch.setattr(
        "lmm_classifier.index.backends.lance_table.statistics.kept.PartStatistics.of", lambda *_: pytest.fail("made")
    )
    assert len(LanceRowStore.open(table.url).statistics.lowest) == 160


def test_they_are_those_of_the_version(table):
    """An older reader has the older ones, and cleaning up deletes none that is in use."""
    former = LanceRowStore.open(table.url)
    table.commit({"e": chunk("e", 10, label="cow")})
    table.finish()
    assert former.statistics.counts.tolist() == [40, 40, 80]
    table.clean_up(timedelta())
    assert LanceRowStore.open(table.url).statistics.counts.tolist() == [40, 50, 80]
    assert len(LanceRowStore.open(table.url).statistics.lowest) == 170


def test_damaged_ones_are_told(table):
    """And not used."""
    rows, about = finishing.finished(table.url)
    version = put_arrays(part(table.url, STATISTICS), {"0.products": np.eye(8)})
    with pytest.raises(IndexFileError, match="do not fit the 3 labels"):
        statistics_of(table.url, rows, replace(about, statistics=version), 0)
