"""The finished table depends on the chunks alone: not on their order, the workers, or the memory."""

import itertools

import numpy as np
import pytest

from lmm_classifier.core.errors import DatasetError, IndexFileError
from lmm_classifier.index.backends.lance_table.finishing import finished
from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore
from lmm_classifier.index.backends.lance_table.table import LanceTable
from tests.helpers.row_stores import chunk, manifest_of, stored_rows

pytest.importorskip("lance", reason="needs lance")

CHUNKS = {
    "a": chunk("x", 30, label="cat"),
    "b": chunk("y", 40, label="dog", bad=3),
    "c": chunk("x", 10, label="wolf's"),  # ten images of the first chunk, under another label
    "d": chunk("z", 30, label="cat"),
    "e": chunk("y", 20, label="dog"),  # the same files once more, in another chunk
    "f": chunk("w", 1, label='a "quoted" label; -- ✓'),
}
COUNTS = {'a "quoted" label; -- ✓': 1, "cat": 60, "dog": 40, "wolf's": 10}


class Backwards:
    """An engine that does the last task first, each with a worker of its own."""

    def run(self, tasks, build):
        for task in reversed(list(tasks)):
            yield build()(task)


def made(url, order, **how):
    table = LanceTable.create(str(url), manifest_of())
    for name in order:
        table.commit({name: CHUNKS[name]})
    table.finish(**how)
    return table


def figures(url):
    store = LanceRowStore.open(str(url))
    return stored_rows(str(url)), store.version.split()[0], store.means.tobytes(), store.counts.tolist()


def test_the_rows_are_sorted_and_joined(tmp_path):
    """One for each content and label, with all its ids; bad files are none."""
    table = made(tmp_path / "t.lance", CHUNKS)
    rows = stored_rows(table.url)
    assert [row[:2] for row in rows] == sorted({row[:2] for row in rows})
    store = LanceRowStore.open(table.url)
    assert dict(zip(store.label_names, store.counts.tolist())) == COUNTS
    assert store.manifest.count == 111
    of_cats = np.array([np.frombuffer(row[3], np.float32) for row in rows if row[0] == "cat"], np.float64)
    np.testing.assert_allclose(store.means[1], of_cats.mean(axis=0), rtol=0, atol=1e-15)


@pytest.mark.parametrize("how", [{"bucket_bytes": 32 * 45}, {"bucket_bytes": 32 * 7, "engine": Backwards()}])
def test_neither_order_nor_memory_nor_workers_matter(tmp_path, how):
    """The rows and the version of their contents are the same; sums of labels in one bucket have the same bits."""
    expected = figures(made(tmp_path / "a.lance", CHUNKS).url)
    found = figures(made(tmp_path / "b.lance", reversed(CHUNKS), **how).url)
    assert found[0] == expected[0]
    assert found[3] == expected[3]
    np.testing.assert_allclose(np.frombuffer(found[2]), np.frombuffer(expected[2]), rtol=0, atol=1e-15)


def test_the_order_of_arrival_changes_no_bit(tmp_path):
    """Rows, means and version."""
    all_figures = {
        repr(figures(made(tmp_path / f"{number}.lance", order).url))
        for number, order in enumerate(itertools.islice(itertools.permutations(CHUNKS), 0, 720, 240))
    }
    assert len(all_figures) == 1


def test_only_wanted_chunks_count(tmp_path):
    """The others stay committed, and may be wanted later."""
    table = made(tmp_path / "t.lance", CHUNKS, wanted=["a"])
    assert {row[0] for row in stored_rows(table.url)} == {"cat"}
    assert len(stored_rows(table.url)) == 30
    table.finish(["a", "b"])
    assert len(stored_rows(table.url)) == 70
    with pytest.raises(IndexFileError, match="has no chunk 'g', nor 1 more"):
        table.finish(["a", "g", "h"])
    assert len(stored_rows(table.url)) == 70


def test_a_finished_table_is_not_finished_again(tmp_path):
    """The same chunks make no new version; one chunk more does, and readers of the former one are not disturbed."""
    table = made(tmp_path / "t.lance", ["a", "b"])
    former, version = LanceRowStore.open(table.url), finished(table.url)[0].version
    table.finish()
    assert finished(table.url)[0].version == version
    table.commit({"d": CHUNKS["d"]})
    assert len(stored_rows(table.url)) == 70, "readers see a chunk before the table is finished"
    table.finish()
    assert len(stored_rows(table.url)) == 100
    assert sum(len(block) for block in former.blocks(("vectors",))) == 70


def test_a_table_without_a_usable_image(tmp_path):
    """It is told, and nothing can be opened."""
    table = LanceTable.create(str(tmp_path / "t.lance"), manifest_of())
    table.commit({"a": chunk("a", 0, bad=3)})
    with pytest.raises(DatasetError, match="no usable image"):
        table.finish()
    with pytest.raises(IndexFileError, match="no finished table"):
        LanceRowStore.open(table.url)


def test_an_interrupted_publication_leaves_the_former_version(tmp_path, monkeypatch):
    """Between the commit of the rows and that of their indexes, readers see what was finished before."""
    from lmm_classifier.index.backends.lance_table import finishing

    table = made(tmp_path / "t.lance", ["a"])
    table.commit({"d": CHUNKS["d"]})
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "mark_finished", lambda dataset: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            table.finish()
    assert len(stored_rows(table.url)) == 30
    LanceTable.open(table.url).finish()
    assert len(stored_rows(table.url)) == 60
