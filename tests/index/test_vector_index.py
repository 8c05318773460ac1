"""An index with vectors of several encoders is opened once for each; parts of it keep their encoder."""

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexMismatchError
from lmm_classifier.embeddings.whitening import BlockWhiteningFitter
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import example_fingerprint, random_embeddings
from tests.evaluation.indexes import index_of
from tests.helpers.vector_indexes import write_encoders

LABELS = "abcabcabcabc"
EACH = [random_embeddings(np.random.default_rng(dim), 12, dim) for dim in (8, 16)]
FITTER = BlockWhiteningFitter((8, 7), (1.0, 1.0), 0.5)


@pytest.fixture(params=["index", "index.npz"])
def path(request, tmp_path):
    identity = Index.open(write_encoders(tmp_path / "identity.npz", LABELS, EACH[:1])).transform
    whitening = FITTER.fit(lambda: iter([EACH[1]]))
    return write_encoders(tmp_path / request.param, LABELS, EACH, transforms=[identity, whitening])


def test_it_is_one_line_where_it_is_shown():
    """Its size, its labels, and what made its vectors."""
    index = Index.from_vectors(np.eye(3), ["a", "b", "b"])
    assert repr(index) == "Index(3 examples of 2 labels, vectors)"


def test_each_encoder_has_an_index_of_the_same_examples(path):
    """With its own vectors; one is opened by its fingerprint, the first by default."""
    first, second = Index.open_each(path)
    assert first.examples == second.examples
    for index, vectors, place in ((first, EACH[0], 0), (second, EACH[1], 1)):
        assert (index.encoder, index.fingerprint) == (place, example_fingerprint(vectors.shape[1], f"{place}"))
        np.testing.assert_array_equal(index.vectors(), vectors)
        again = Index.open(path, index.fingerprint)
        np.testing.assert_array_equal(again.gallery.embeddings, index.gallery.embeddings)
        assert index.search(vectors[3:4], 1)[0][0].example.path == "p/003.jpg"
    assert Index.open(path).fingerprint == first.fingerprint
    with pytest.raises(IndexMismatchError, match="was built by another encoder"):
        Index.open(path, example_fingerprint(9))
    with pytest.raises(ValueError, match=r"\(n, 16\), got \(1, 8\)"):
        second.search(EACH[0][:1], 1)


def test_a_part_has_the_vectors_of_its_encoder(path):
    """Those of some labels, or without some rows; the transform is then fitted to the rest."""
    _, second = Index.open_each(path)
    some = second.only(["a", "c"])
    rows = [row for row, label in enumerate(LABELS) if label != "b"]
    assert some.fingerprint == second.fingerprint
    np.testing.assert_array_equal(some.vectors(), EACH[1][rows])
    np.testing.assert_array_equal(some.gallery.embeddings, second.gallery.embeddings[rows])
    rest = second.without(np.array([0, 5]))
    remaining = np.setdiff1d(np.arange(12), [0, 5])
    assert rest.fingerprint == second.fingerprint
    assert rest.manifest.count == len(rest) == 10
    np.testing.assert_array_equal(rest.vectors(), EACH[1][remaining])
    expected = FITTER.fit(lambda: iter([EACH[1][remaining]])).transform(EACH[1][remaining])
    np.testing.assert_allclose(rest.gallery.embeddings, expected, atol=1e-5)


def test_nearest_others_are_those_of_each_row_alone(tmp_path, monkeypatch):
    """Examples of the same content are left out; blocks do not matter, and each is reported."""
    vectors = random_embeddings(np.random.default_rng(5), 12, 6)
    vectors[7] = vectors[3]
    hashes = [f"{number:064x}" for number in range(12)]
    hashes[7] = hashes[3]
    index, seen = index_of(tmp_path / "i.npz", vectors, ["a", "b"] * 6, hashes), []
    rows = np.array([3, 0, 11, 7, 5])
    monkeypatch.setattr("lmm_classifier.index.vector_index._ROWS", 2)
    for row, nearest in zip(rows, index.nearest_others(rows, 4, seen.append), strict=True):
        (alone,) = index.search(vectors[[row]], 4, [hashes[row]])
        assert nearest == alone
    assert [progress.done for progress in seen] == [2, 4, 5]
