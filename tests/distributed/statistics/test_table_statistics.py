"""The statistics of a table are those of its rows, by whichever worker and in whichever order."""

import shutil

import numpy as np
import pytest

from lmm_classifier.calibration.sparse.store_statistics import fit_store_scatter, sample_of_store
from lmm_classifier.core.errors import EngineError
from lmm_classifier.distributed.build import build_table
from lmm_classifier.distributed.engines.local import InProcess, Processes
from lmm_classifier.distributed.statistics.table_statistics import label_ranges, store_statistics, table_statistics
from lmm_classifier.neighbors.metric import fit_scatter

pytest.importorskip("lance", reason="lance is not installed")

from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore


class Backwards(InProcess):
    """Does the last task first."""

    def run(self, tasks, build):
        return super().run(list(tasks)[::-1], build)


@pytest.fixture(scope="module")
def table(labeled, tmp_path_factory):
    """A table of the images."""
    path = tmp_path_factory.mktemp("statistics") / "table"
    build_table(labeled.root, str(path), labeled.config, InProcess())
    return path


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Each label is a part of its own."""
    ranges = label_ranges
    monkeypatch.setattr(
        "lmm_classifier.distributed.statistics.table_statistics.label_ranges", lambda counts: ranges(counts, 5)
    )


def test_they_are_those_of_the_rows(table):
    """Counts, means, scatter and digest; made again, they are read."""
    store = LanceRowStore.open(str(table))
    blocks = list(store.blocks(("vectors",)))
    rows, ids = (np.concatenate(part) for part in zip(*((block.vectors, block.label_ids) for block in blocks)))
    found, expected = table_statistics(table, InProcess()), fit_scatter(rows, ids, len(store.counts))
    assert found.counts.tolist() == store.counts.tolist()
    np.testing.assert_allclose(found.means, store.means, atol=1e-12)
    matrices = [(scatter.axes * scatter.variances) @ scatter.axes.T for scatter in (found.scatter(), expected)]
    assert np.abs(matrices[0] - matrices[1]).max() <= 1e-12 * np.abs(matrices[1]).max()
    again = table_statistics(table, Backwards())
    assert again.plain.products.tobytes() == found.plain.products.tobytes()
    assert again.digest == found.digest != 0


def test_the_order_of_the_work_changes_no_bit(table, tmp_path):
    """Two copies of a table, forwards and backwards."""
    totals = []
    for engine in (InProcess(), Backwards()):
        copy = tmp_path / type(engine).__name__
        shutil.copytree(table, copy, ignore=shutil.ignore_patterns("statistics"))
        totals.append(table_statistics(copy, engine))
    assert totals[0].plain.products.tobytes() == totals[1].plain.products.tobytes()
    assert totals[0].means.tobytes() == totals[1].means.tobytes()


@pytest.mark.long
def test_processes_give_the_same(table, tmp_path):
    """Two at once."""
    shutil.copytree(table, tmp_path / "copy", ignore=shutil.ignore_patterns("statistics"))
    found = table_statistics(tmp_path / "copy", Processes(2))
    assert found.plain.products.tobytes() == table_statistics(table, InProcess()).plain.products.tobytes()


def test_a_lost_part_is_an_error(table):
    """And not a sum that is too small."""

    class Losing(InProcess):
        def run(self, tasks, build):
            return super().run(list(tasks)[1:], build)

    with pytest.raises(EngineError, match="1 of 4 parts"):
        table_statistics(table, Losing())


class Unread(LanceRowStore):
    """Rows that cannot be read all at once."""

    def blocks(self, columns):
        raise AssertionError(f"all rows were read for {columns}")


def test_a_build_stores_them_and_a_calibration_reads_no_row_for_them(table, labeled, tmp_path):
    """The scatter is that of all rows; a table that changed has others."""
    store = LanceRowStore.open(str(table))
    unread = Unread(store.url, store._dataset, store.about)
    found = fit_store_scatter(unread)
    rows = [block.vectors for block in store.blocks(("vectors",))]
    expected = fit_scatter(np.concatenate(rows), np.repeat(np.arange(4), store.counts), 4)
    assert found.power_normalize == expected.power_normalize
    matrices = [(scatter.axes * scatter.variances) @ scatter.axes.T for scatter in (found, expected)]
    assert np.abs(matrices[0] - matrices[1]).max() <= 1e-12 * np.abs(matrices[1]).max()
    assert len(sample_of_store(unread, 5)) == 5
    fewer = tmp_path / "images"
    shutil.copytree(labeled.root, fewer)
    (fewer / "stripes/05.png").unlink()
    build_table(fewer, str(tmp_path / "table"), labeled.config, InProcess())
    assert not list((tmp_path / "table/statistics").rglob("*.npz"))  # the parts were added up
    before = LanceRowStore.open(str(tmp_path / "table")).sums()
    (fewer / "stripes/06.png").unlink()
    build_table(fewer, str(tmp_path / "table"), labeled.config, InProcess())
    after = LanceRowStore.open(str(tmp_path / "table")).sums()
    assert np.trace(before.products) == pytest.approx(np.trace(after.products) + 1)


def test_a_table_without_them_is_read(table, tmp_path):
    """One that was exported, for example."""
    shutil.copytree(table, tmp_path / "copy", ignore=shutil.ignore_patterns("statistics*"))
    store = LanceRowStore.open(str(tmp_path / "copy"))
    assert store.sums() is None
    with_sums = fit_store_scatter(LanceRowStore.open(str(table)))
    np.testing.assert_allclose(fit_store_scatter(store).means, with_sums.means, atol=1e-12)
    shutil.copytree(tmp_path / "copy", tmp_path / "other")
    found = []
    for name, engine in (("copy", InProcess()), ("other", Backwards())):
        store_statistics(str(tmp_path / name), engine)
        found.append(LanceRowStore.open(str(tmp_path / name)).sums().products)
    assert found[0].tobytes() == found[1].tobytes()
