"""The contract of every store of rows: in memory, behind pages on disk, in a table in a folder or an object store."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.index.backends import cached_rows
from lmm_classifier.index.backends.cached_rows import CachedRowStore
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.backends.row_pages import RowPages
from tests.contracts.test_readers import needs
from tests.helpers.remote_sources import s3_server
from tests.helpers.row_stores import drawn_index

DIM, ROWS, LABELS = 32, 700, 9
LANCE = needs("lance", "pyarrow")
KINDS = [
    "memory",
    "cached",
    pytest.param("flat", marks=LANCE),
    pytest.param("indexed", marks=LANCE),
    pytest.param("buckets", marks=LANCE),
    pytest.param("s3", marks=[LANCE, needs("moto", "flask", "s3fs"), pytest.mark.long]),
]
INDEX = drawn_index(1, ROWS, LABELS, DIM, copies=30)


@pytest.fixture(scope="module", params=KINDS)
def store(request, tmp_path_factory):
    """One of the stores of the same 700 different rows, 30 of which have two ids."""
    kind = request.param
    if kind == "memory":
        yield MemoryRowStore(INDEX, norms=norms_of(INDEX.gallery.embeddings))
        return
    folder = tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        if kind == "cached":
            patch.setattr(cached_rows, "_PAGE_BYTES", 4 * DIM * 16)  # rows of a page
            yield CachedRowStore(MemoryRowStore(INDEX), RowPages(folder), "here").with_norms("twice", norms_of)
            return
        if kind == "s3":
            with s3_server(folder, patch) as bucket:
                yield written(f"{bucket}/a/table", patch, kind)
            return
        yield written(str(folder / "table.lance"), patch, kind)


def written(url, patch, kind):
    from lmm_classifier.index.backends.lance_table import finishing
    from lmm_classifier.index.backends.lance_table.copying import write_table
    from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore

    if kind == "indexed":
        patch.setattr(finishing, "INDEXED_FROM", 500)
    write_table(url, INDEX.contents, bucket_bytes=4 * DIM * 60 if kind == "buckets" else 1 << 28)  # 78 rows a label
    store = LanceRowStore.open(url)
    assert store.version.endswith("exact") == (kind != "indexed")
    return store.with_norms("twice", norms_of)


def norms_of(rows):
    return 2 * np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))


@pytest.fixture(scope="module")
def expected():
    """The rows by numpy alone: (label, content) -> vector and ids."""
    rows = {}
    for row, (label, content) in enumerate(zip(INDEX.contents.labels, INDEX.hashes)):
        rows.setdefault((label, content), (INDEX.gallery.embeddings[row], []))[1].append(INDEX.contents.paths[row])
    return dict(sorted(rows.items()))


def joined(blocks):
    return [row for block in blocks for row in listed(block)]


def listed(block):
    columns = [block.ids.tolist(), block.label_ids.tolist(), block.contents, block.paths, list(block.vectors)]
    return list(zip(*columns, strict=True))


ALL = ("vectors", "contents", "paths", "norms")


def test_all_ids_of_a_row(store, expected):
    """The copies of an image under one label are one row, which has all of their ids, ascending."""
    rows = [row for block in store.blocks(("paths", "all_paths")) for row in zip(block.paths, block.all_paths)]
    assert [list(paths) for _, paths in rows] == [sorted(paths) for _, paths in expected.values()]
    assert [path for path, _ in rows] == [paths[0] for _, paths in rows]
    assert sum(len(paths) > 1 for _, paths in rows) == 30
    some = store.rows_of_ids(np.array([5, 2]), ("all_paths", "contents", "paths"))
    assert [list(paths) for paths in some.all_paths] == [list(rows[5][1]), list(rows[2][1])]
    assert list(store.rows_of_ids(np.array([], np.int64), ("all_paths",)).all_paths) == []


def test_labels_counts_and_means(store, expected):
    """Each content of a label counts once, however many ids it has."""
    assert list(store.label_names) == sorted(set(INDEX.contents.labels))
    for label, name in enumerate(store.label_names):
        rows = np.array([vector for (of, _), (vector, _) in expected.items() if of == name], np.float64)
        assert store.counts[label] == len(rows)
        np.testing.assert_allclose(store.means[label], rows.mean(axis=0), rtol=0, atol=1e-15)


def test_the_blocks_are_all_rows_by_label_and_content(store, expected):
    """The order is the same each time, the ids name the rows."""
    rows = joined(store.blocks(ALL))
    assert [(store.label_names[label], content) for _, label, content, _, _ in rows] == list(expected)
    for (_, _, _, path, vector), (found, paths) in zip(rows, expected.values(), strict=True):
        assert path == min(paths)
        assert np.array_equal(vector, found)
    assert len({row[0] for row in rows}) == len(rows)
    assert [row[:4] for row in joined(store.blocks(ALL))] == [row[:4] for row in rows]


def test_only_the_columns_that_are_asked_for_are_read(store):
    """Ids and labels are always there."""
    for block in (*store.blocks(()), *store.blocks(("paths",)), store.rows_of_contents([], ("vectors",))):
        assert block.contents is None
        assert block.norms is None
        assert len(block.ids) == len(block.label_ids)


def test_the_nearest_rows_are_those_of_numpy(store, expected):
    """Few are missed; the cosines are exact and fall, and each row comes once."""
    rng = np.random.default_rng(3)
    rows = np.array([vector for vector, _ in expected.values()], np.float64)
    queries = rows[rng.choice(len(rows), 60)] + 0.05 * rng.normal(size=(60, DIM))
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    ids, cosines = store.nearest(queries, 10)
    of_id = {number: place for place, number in enumerate(np.concatenate([b.ids for b in store.blocks(())]).tolist())}
    places = np.vectorize(of_id.__getitem__)(ids)
    all_cosines = queries.astype(np.float64) @ rows.T
    best = np.argsort(-all_cosines, axis=1, kind="stable")[:, :10]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(places.tolist(), best.tolist())]) >= 0.99
    np.testing.assert_allclose(cosines, np.take_along_axis(all_cosines, places, axis=1), rtol=0, atol=1e-14)
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert all(len(set(of_query)) == 10 for of_query in ids.tolist())


def test_there_may_be_fewer_rows_than_are_asked_for(store):
    """The rest is -1 and -inf; no query has no answer."""
    few = store.nearest(next(iter(store.blocks(("vectors",)))).vectors[:2], ROWS + 5)
    assert few[0].shape == few[1].shape == (2, ROWS + 5)
    assert (few[0][:, -5:] == -1).all()
    assert np.isneginf(few[1][:, -5:]).all()
    assert store.nearest(np.empty((0, DIM), np.float32), 3)[0].shape == (0, 3)


@settings(max_examples=25)
@given(st.lists(st.integers(0, LABELS - 1), max_size=6), st.one_of(st.none(), st.integers(1, 30)))
def test_the_rows_of_labels(store, labels, most):
    """All of them by id, or always the same first ones of each."""
    rows = joined(store.rows_of_labels(np.array(labels, np.int64), ALL, most))
    every = joined(store.blocks(ALL))
    wanted = [[row for row in every if row[1] == label][:most] for label in sorted(set(labels))]
    assert [row[:4] for row in rows] == [row[:4] for of_label in wanted for row in of_label]


@settings(max_examples=25)
@given(st.lists(st.integers(0, ROWS - 1), max_size=20))
def test_the_rows_of_contents_and_of_ids(store, places):
    """Contents: by id, each once; ids: in their order. What no row has is left out, or an error."""
    every = joined(store.blocks(ALL))
    chosen = [every[place] for place in places]
    found = store.rows_of_contents([row[2] for row in chosen] + ["0" * 64, "no hash"], ALL)
    contents = {row[2] for row in chosen}
    assert [row[:4] for row in listed(found)] == [row[:4] for row in every if row[2] in contents]
    by_id = store.rows_of_ids(np.array([row[0] for row in chosen], np.int64), ALL)
    assert [row[:4] for row in listed(by_id)] == [row[:4] for row in chosen]
    for (*_, vector), row in zip(listed(by_id), chosen):
        assert np.array_equal(vector, row[4])


def test_norms_are_those_of_the_metric(store):
    """They come with the rows, wherever these are read."""
    for block in store.blocks(("vectors", "norms")):
        np.testing.assert_allclose(block.norms, norms_of(block.vectors), rtol=1e-15)
    some = store.rows_of_ids(np.array([3, 1]), ("vectors", "norms"))
    np.testing.assert_allclose(some.norms, norms_of(some.vectors), rtol=1e-15)


def test_norms_that_are_stored_are_not_computed_again(store):
    """Whoever may not store them has them where they are there, or has rows without."""

    def refuse(rows):
        raise AssertionError(f"{len(rows)} norms were computed")

    assert store.has_norms
    if isinstance(store, MemoryRowStore | CachedRowStore):
        return  # the rows of both are in memory, where norms are not stored
    again = store.with_norms("twice", refuse, store=False)
    assert np.array_equal(joined_norms(again), joined_norms(store))
    assert store.with_norms("twice", refuse).version == store.version
    other = type(store).open(store.url).with_norms("thrice", refuse, store=False)
    assert not other.has_norms
    with pytest.raises(ValueError, match="no metric was given"):
        other.rows_of_ids(np.array([0]), ("norms",))


def joined_norms(store):
    return np.concatenate([block.norms for block in store.blocks(("norms",))])


def test_rows_that_do_not_exist(store):
    """An id or a label that there is not is an error that names it."""
    with pytest.raises(KeyError, match=f"no row has the id {ROWS}"):
        store.rows_of_ids(np.array([0, ROWS]), ())
    with pytest.raises(KeyError, match="-1"):
        store.rows_of_ids(np.array([-1]), ())
    with pytest.raises(ValueError, match=f"below {LABELS}"):
        list(store.rows_of_labels(np.array([LABELS]), ()))


def test_the_version_is_that_of_the_rows_and_the_search(store):
    """It is text, and the same each time."""
    assert store.version == store.version
    assert len(store.version) > 20
