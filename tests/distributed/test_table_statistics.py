"""The statistics of a table are those of its rows, by whichever worker and in whichever order."""

import numpy as np
import pytest

from lmm_classifier.core.errors import EngineError
from lmm_classifier.distributed.build import build_table
from lmm_classifier.distributed.engines.local import InProcess, Processes
from lmm_classifier.distributed.table_statistics import label_ranges, table_statistics
from lmm_classifier.neighbors.metric import fit_scatter

pytest.importorskip("lance", reason="lance is not installed")


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
    monkeypatch.setattr("lmm_classifier.distributed.table_statistics.label_ranges", lambda counts: ranges(counts, 5))


def test_they_are_those_of_the_rows(table):
    """Counts, means, scatter and digest; made again, they are read."""
    from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore

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
    import shutil

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
    import shutil

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
