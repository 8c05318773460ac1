"""The contract of every index, in any format."""

from hashlib import sha256

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError, IndexMismatchError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index import vector_index
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors import brute_force
from lmm_classifier.testing import example_fingerprint, random_embeddings
from tests.contracts.test_readers import needs

DIM = 24


def content(name):
    return sha256(name.encode()).hexdigest()


def write(path, vectors, labels=None, hashes=None, dtype=np.float32, fingerprint=None):
    n = len(vectors)
    contents = IndexContents(
        Manifest(
            (EncoderEntry(fingerprint or example_fingerprint(vectors.shape[1]), "identity"),),
            n,
            "dataset",
            "2026-01-01",
            "0",
        ),
        list(labels or ["ab"[i % 2] for i in range(n)]),
        [f"p/{i:03}.jpg" for i in range(n)],
        list(hashes or [f"hash{i}" for i in range(n)]),
        (EncoderVectors(IdentityTransform().to_arrays(), lambda: iter([vectors[: n // 2], vectors[n // 2 :]])),),
        dtype,
    )
    write_index(path, contents)
    return path


KINDS = ["npz", "folder", "npz-float16", "folder-float16", "folder-large", "folder-large-float32"]
KINDS += [pytest.param(name, marks=needs("lance", "pyarrow")) for name in ("lance", "lance-float16")]


@pytest.fixture(params=KINDS)
def make(request, tmp_path, monkeypatch):
    """Write vectors as this kind of index and open it; a large one is searched by blocks, by integers or floats."""
    kind, *more = request.param.split("-")
    half = more == ["float16"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if "large" in more:
        monkeypatch.setattr(vector_index, "SEARCH_FROM", 0)
        monkeypatch.setattr(brute_force, "_ROWS", 32)
        monkeypatch.setattr(brute_force, "is_available", lambda: "float32" not in more)

    def make(vectors, **rest):
        path = tmp_path / {"npz": "index.npz", "folder": "index", "lance": "index.lance"}[kind]
        hashes = [content(name) for name in rest.pop("hashes", map(str, range(len(vectors))))]
        write(path, vectors, dtype=np.float16 if half else np.float32, hashes=hashes, **rest)
        return Index.open(path)

    make.tolerance = 1e-3 if half else 1e-7
    return make


def test_neighbors_are_those_of_brute_force(make):
    """Each example has its own similarity; the nearest come first."""
    rng = np.random.default_rng(1)
    vectors, queries = random_embeddings(rng, 101, DIM), random_embeddings(rng, 37, DIM)
    index = make(vectors)
    for query, neighbors in zip(queries.astype(float), index.search(queries, 7)):
        similarities = vectors.astype(float) @ query
        assert len(neighbors) == 7
        for neighbor in neighbors:
            row = int(neighbor.example.path[2:5])
            assert neighbor.similarity == pytest.approx(similarities[row], abs=make.tolerance)
            assert neighbor.example.label == "ab"[row % 2]
        values = [neighbor.similarity for neighbor in neighbors]
        assert values == sorted(values, reverse=True)
        assert values[-1] >= np.sort(similarities)[-7] - make.tolerance


def test_a_large_k_returns_all_examples_and_no_query_returns_nothing(make):
    """There are three examples."""
    rng = np.random.default_rng(2)
    index = make(random_embeddings(rng, 3, DIM))
    assert [len(neighbors) for neighbors in index.search(random_embeddings(rng, 2, DIM), 50)] == [3, 3]
    assert index.search(np.empty((0, DIM), np.float32), 5) == []


def test_ties_are_broken_by_row(make):
    """Equal similarities come in the order of the dataset."""
    vectors = np.repeat(random_embeddings(np.random.default_rng(3), 1, DIM), 9, axis=0)
    index = make(vectors)
    paths = [neighbor.example.path for neighbor in index.search(vectors[:1], 4)[0]]
    assert paths == ["p/000.jpg", "p/001.jpg", "p/002.jpg", "p/003.jpg"]


def test_the_content_of_a_query_can_be_left_out(make):
    """All rows of that content are left out for this query, and none for other queries."""
    vectors = random_embeddings(np.random.default_rng(4), 6, DIM)
    vectors[[2, 4]] = vectors[0]  # the same content has the same vector
    index = make(vectors, hashes=["x", "y", "x", "z", "x", "w"])
    without, complete = index.search(vectors[[0, 0]], 10, [content("x"), None])
    assert {neighbor.example.path[2:5] for neighbor in without} == {"001", "003", "005"}
    assert len(complete) == 6
    assert complete[0].similarity == pytest.approx(1, abs=make.tolerance)


def test_results_do_not_depend_on_the_batch(make):
    """Bit-identical for any split of the queries."""
    rng = np.random.default_rng(5)
    vectors, queries = random_embeddings(rng, 333, DIM), random_embeddings(rng, 65, DIM)
    index = make(vectors)
    whole = index.search(queries, 5)
    for size in (1, 7, 32, 64):
        parts = [index.search(queries[start : start + size], 5) for start in range(0, 65, size)]
        assert [neighbors for part in parts for neighbors in part] == whole


def test_an_index_of_some_labels_has_no_examples_of_the_others(make):
    """A label without examples is an error that names it."""
    vectors = random_embeddings(np.random.default_rng(6), 10, DIM)
    index = make(vectors).only(["b"])
    assert index.label_names == ["b"]
    assert {neighbor.example.label for neighbor in index.search(vectors[:1], 10)[0]} == {"b"}
    with pytest.raises(ConfigError, match="'c' not in the index. Its labels are b"):
        index.only(["b", "c"])


def test_a_query_of_another_length_is_rejected(make):
    """The message names both shapes."""
    index = make(random_embeddings(np.random.default_rng(7), 4, DIM))
    with pytest.raises(ValueError, match=r"\(n, 24\), got \(1, 5\)"):
        index.search(np.ones((1, 5), np.float32), 1)


@pytest.mark.parametrize(
    ("field", "value"), [("backend", "onnx"), ("revision", "2"), ("preprocessing", "crop"), ("dim", 25)]
)
@pytest.mark.parametrize("kind", ["index.npz", "index"])
def test_another_encoder_is_rejected_by_name(tmp_path, kind, field, value):
    """The message names the differences and both fingerprints. Another number type is accepted."""
    path = write(tmp_path / kind, random_embeddings(np.random.default_rng(8), 4, DIM))
    fields = {name: getattr(example_fingerprint(DIM), name) for name in Fingerprint.__slots__}
    Index.open(path, Fingerprint(**{**fields, "dtype": "bfloat16"}))
    encoder = Fingerprint(**{**fields, field: value})
    with pytest.raises(IndexMismatchError) as caught:
        Index.open(path, encoder)
    for part in (f"{field} differ", str(encoder), str(example_fingerprint(DIM)), str(path), "lmm-classifier build"):
        assert part in str(caught.value)


def test_the_same_weights_under_another_name_are_accepted(tmp_path):
    """A hub name and a folder with the same weights are one encoder. Without a revision the name decides."""
    path = write(tmp_path / "index", random_embeddings(np.random.default_rng(9), 4, DIM))
    Index.open(path, Fingerprint("given", "folder", "1", "none", DIM, "float32"))
    path = write(
        tmp_path / "named",
        random_embeddings(np.random.default_rng(9), 4, DIM),
        fingerprint=example_fingerprint(DIM, revision=""),
    )
    with pytest.raises(IndexMismatchError, match="model differ"):
        Index.open(path, Fingerprint("given", "folder", "", "none", DIM, "float32"))
