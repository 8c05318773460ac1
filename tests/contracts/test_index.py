"""What every index promises, whatever the file it comes from."""

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.errors import ConfigError, IndexMismatchError
from lmm_classifier.embeddings.whitening import IdentitySpace
from lmm_classifier.index import vector_index as exact
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors import brute_force as nearest_rows
from lmm_classifier.testing import some_fingerprint, unit_rows

DIM = 24


def write(path, vectors, labels=None, hashes=None, dtype=np.float32, fingerprint=None):
    n = len(vectors)
    contents = Contents(
        Manifest(fingerprint or some_fingerprint(vectors.shape[1]), "identity", n, "corpus", "2026-01-01", "0"),
        list(labels or ["ab"[i % 2] for i in range(n)]),
        [f"p/{i:03}.jpg" for i in range(n)],
        list(hashes or [f"hash{i}" for i in range(n)]),
        IdentitySpace().state(),
        lambda: iter([vectors[: n // 2], vectors[n // 2 :]]),
        dtype,
    )
    write_index(path, contents)
    return path


@pytest.fixture(params=["npz", "folder", "npz-float16", "folder-float16", "folder-large", "folder-large-float32"])
def make(request, tmp_path, monkeypatch):
    """Writes vectors as this kind of index and opens it; a large one is searched by blocks, by integers or floats."""
    kind, *more = request.param.split("-")
    half = more == ["float16"]
    if "large" in more:
        monkeypatch.setattr(exact, "SEARCH_FROM", 0)
        monkeypatch.setattr(nearest_rows, "_ROWS", 32)
        monkeypatch.setattr(nearest_rows, "is_available", lambda: "float32" not in more)

    def make(vectors, **rest):
        path = tmp_path / ("index.npz" if kind == "npz" else "index")
        write(path, vectors, dtype=np.float16 if half else np.float32, **rest)
        return ExactIndex.open(path)

    make.tolerance = 1e-3 if half else 1e-7
    return make


def test_neighbours_are_those_of_brute_force(make):
    """Item and similarity stay together, nearest first, exact."""
    rng = np.random.default_rng(1)
    vectors, queries = unit_rows(rng, 101, DIM), unit_rows(rng, 37, DIM)
    index = make(vectors)
    for query, neighbors in zip(queries.astype(float), index.search(queries, 7)):
        near = vectors.astype(float) @ query
        assert len(neighbors) == 7
        for neighbor in neighbors:
            row = int(neighbor.example.path[2:5])
            assert neighbor.similarity == pytest.approx(near[row], abs=make.tolerance)
            assert neighbor.example.label == "ab"[row % 2]
        values = [neighbor.similarity for neighbor in neighbors]
        assert values == sorted(values, reverse=True)
        assert values[-1] >= np.sort(near)[-7] - make.tolerance


def test_k_larger_than_the_corpus_and_empty_queries(make):
    """All there are, and no more; no query gives no answer."""
    rng = np.random.default_rng(2)
    index = make(unit_rows(rng, 3, DIM))
    assert [len(found) for found in index.search(unit_rows(rng, 2, DIM), 50)] == [3, 3]
    assert index.search(np.empty((0, DIM), np.float32), 5) == []


def test_ties_are_broken_by_row(make):
    """Equal similarities come in the order of the corpus."""
    vectors = np.repeat(unit_rows(np.random.default_rng(3), 1, DIM), 9, axis=0)
    index = make(vectors)
    paths = [neighbor.example.path for neighbor in index.search(vectors[:1], 4)[0]]
    assert paths == ["p/000.jpg", "p/001.jpg", "p/002.jpg", "p/003.jpg"]


def test_a_querys_own_bytes_can_be_left_out(make):
    """Every row of that content goes, whatever its place; other queries are not touched."""
    vectors = unit_rows(np.random.default_rng(4), 6, DIM)
    vectors[[2, 4]] = vectors[0]  # the same content has the same vector
    index = make(vectors, hashes=["x", "y", "x", "z", "x", "w"])
    left, kept = index.search(vectors[[0, 0]], 10, ["x", None])
    assert {neighbor.example.path[2:5] for neighbor in left} == {"001", "003", "005"}
    assert len(kept) == 6
    assert kept[0].similarity == pytest.approx(1, abs=make.tolerance)


def test_answers_do_not_depend_on_the_batch(make):
    """Bit-identical for any split of the queries."""
    rng = np.random.default_rng(5)
    vectors, queries = unit_rows(rng, 333, DIM), unit_rows(rng, 65, DIM)
    index = make(vectors)
    whole = index.search(queries, 5)
    for size in (1, 7, 32, 64):
        split = [found for start in range(0, 65, size) for found in index.search(queries[start : start + size], 5)]
        assert split == whole


def test_only_some_labels(make):
    """A restricted index knows nothing of the other labels; an unknown label is named."""
    vectors = unit_rows(np.random.default_rng(6), 10, DIM)
    index = make(vectors).only(["b"])
    assert index.label_names == ["b"]
    assert {neighbor.example.label for neighbor in index.search(vectors[:1], 10)[0]} == {"b"}
    with pytest.raises(ConfigError, match="'c' not in the index, which knows b"):
        index.only(["b", "c"])


def test_wrong_query_shape(make):
    """A vector of another length is refused."""
    index = make(unit_rows(np.random.default_rng(7), 4, DIM))
    with pytest.raises(ValueError, match=r"\(n, 24\), got \(1, 5\)"):
        index.search(np.ones((1, 5), np.float32), 1)


@pytest.mark.parametrize(
    ("field", "value"), [("backend", "onnx"), ("revision", "2"), ("preprocessing", "crop"), ("dim", 25)]
)
@pytest.mark.parametrize("kind", ["index.npz", "index"])
def test_another_encoder_is_refused_by_name(tmp_path, kind, field, value):
    """The message names what differs and both fingerprints; another number type is no reason to refuse."""
    path = write(tmp_path / kind, unit_rows(np.random.default_rng(8), 4, DIM))
    mine = {name: getattr(some_fingerprint(DIM), name) for name in Fingerprint.__slots__}
    ExactIndex.open(path, Fingerprint(**{**mine, "dtype": "bfloat16"}))
    other = Fingerprint(**{**mine, field: value})
    with pytest.raises(IndexMismatchError) as caught:
        ExactIndex.open(path, other)
    for part in (f"{field} differ", str(other), str(some_fingerprint(DIM)), str(path), "rebuild"):
        assert part in str(caught.value)


def test_the_same_weights_under_another_name_are_accepted(tmp_path):
    """A hub name and a folder with the same content are one encoder; without a revision the name decides."""
    path = write(tmp_path / "index", unit_rows(np.random.default_rng(9), 4, DIM))
    ExactIndex.open(path, Fingerprint("given", "folder", "1", "none", DIM, "float32"))
    path = write(
        tmp_path / "named", unit_rows(np.random.default_rng(9), 4, DIM), fingerprint=some_fingerprint(DIM, revision="")
    )
    with pytest.raises(IndexMismatchError, match="model differ"):
        ExactIndex.open(path, Fingerprint("given", "folder", "", "none", DIM, "float32"))
