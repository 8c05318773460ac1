"""The statistics of a table are those of its rows, by whichever worker and in whichever order."""

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.distributed.engines.local import Processes
from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore
from lmm_classifier.index.backends.lance_table.statistics.parts import add_up_parts, write_part
from lmm_classifier.index.backends.lance_table.table import LanceTable
from lmm_classifier.neighbors.metric import fit_scatter
from lmm_classifier.neighbors.row_statistics import PartStatistics, scatter_by_sums
from tests.helpers.row_stores import chunk, manifest_of

pytest.importorskip("lance", reason="lance is not installed")

SMALL = 32 * 40  # bytes of a bucket: 40 rows of 8 numbers
CHUNKS = {f"{number}": chunk(f"p{number} ", 30, label=f"label {number % 5}") for number in range(20)}


class Backwards:
    """Does the last task first, each with a worker of its own."""

    def run(self, tasks, build):
        for task in reversed(list(tasks)):
            yield build()(task)


def made(url, order, **how):
    table = LanceTable.create(str(url), manifest_of())
    for name in order:
        table.commit({name: CHUNKS[name]})
    table.finish(bucket_bytes=SMALL, **how)
    return LanceRowStore.open(table.url)


def bits(statistics):
    return [
        array.tobytes() for array in (statistics.counts, statistics.means, statistics.plain.products, statistics.lowest)
    ]


def test_they_are_those_of_the_rows(tmp_path):
    """Counts, means, scatter, and the rows with the lowest contents; no row is read for them."""
    store = made(tmp_path / "t", CHUNKS)
    blocks = list(store.blocks(("vectors", "contents")))
    rows = np.concatenate([block.vectors for block in blocks])
    ids = np.concatenate([block.label_ids for block in blocks])
    contents = [content for block in blocks for content in block.contents]
    found, expected = store.statistics, fit_scatter(rows, ids, 5)
    assert found.counts.tolist() == store.counts.tolist() == [120] * 5
    np.testing.assert_allclose(found.means, store.means, rtol=0, atol=1e-12)
    matrices = [(s.axes * s.variances) @ s.axes.T for s in (scatter_by_sums(found), expected)]
    assert np.abs(matrices[0] - matrices[1]).max() <= 1e-12 * np.abs(matrices[1]).max()
    assert found.lowest.tolist() == np.argsort(contents, kind="stable").tolist()


def test_neither_order_nor_engine_changes_a_bit(tmp_path):
    """Chunks and buckets forwards and backwards."""
    expected = made(tmp_path / "a", CHUNKS)
    found = made(tmp_path / "b", reversed(CHUNKS), engine=Backwards())
    assert bits(found.statistics) == bits(expected.statistics)
    assert found.version == expected.version


@pytest.mark.long
def test_processes_change_no_bit(tmp_path):
    """Two at once."""
    expected, found = made(tmp_path / "a", CHUNKS), made(tmp_path / "b", CHUNKS, engine=Processes(2))
    assert bits(found.statistics) == bits(expected.statistics)


def test_a_part_that_is_not_there_is_an_error(tmp_path):
    """And not a sum that is too small."""
    rows = np.eye(3, 8, dtype=np.float32)
    part = PartStatistics.of(rows, np.arange(3), ["a", "b", "c"])
    table = LanceTable.create(str(tmp_path / "t"), manifest_of())
    written = write_part(table.url, [part])
    assert add_up_parts(table.url, [written], 3, [8])[0].counts.tolist() == [1, 1, 1]
    for file in (tmp_path / "t/statistics.lance/data").iterdir():
        file.unlink()
    with pytest.raises(IndexFileError, match="cannot be used"):
        add_up_parts(table.url, [written], 3, [8])
