"""Files between the steps of a join are read as they were written."""

import numpy as np
import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.distributed.answering.query_file import (
    EncodedQuery,
    QueryFile,
    encoded_from_bytes,
    encoded_to_bytes,
    pairs_from_bytes,
    pairs_to_bytes,
    queries_from_bytes,
    queries_to_bytes,
)
from lmm_classifier.neighbors.gathering.compared_pairs import ComparedPairs, Competing
from lmm_classifier.neighbors.gathering.reading import FoundRows

VECTORS = np.array([[0.6, 0.8], [1 / 3, 2 / 3]], np.float32)
SHORT = np.array([[1.0], [-1.0]], np.float32)
QUERIES = [
    EncodedQuery("ab", (VECTORS[0], SHORT[0])),
    EncodedQuery(None, (), "a\udcff.png: not there"),
    EncodedQuery("cd", (VECTORS[1], SHORT[1])),
]


def assert_same_images(found):
    assert [(query.content_hash, query.error) for query in found] == [
        ("ab", None),
        (None, "a\udcff.png: not there"),
        ("cd", None),
    ]
    for number, vectors in enumerate((VECTORS, SHORT)):
        assert found[0].vectors[number].tobytes() + found[2].vectors[number].tobytes() == vectors.tobytes()
    assert found[1].vectors == ()


@pytest.mark.parametrize("left_out", [[], [np.array([4]), np.array([], np.int64)]])
def test_images_are_read_back(left_out):
    """With what competes for those that have vectors, by each encoder."""
    found = FoundRows(np.array([[1, 2], [3, -1]]), np.array([[0, 0], [5, -1]]))
    each = [Competing([np.array([0, 5]), np.array([], np.int64)], [found, found])] * 2
    versions = ["3 0 exact", "3 1 exact"]
    file = queries_from_bytes(queries_to_bytes(QueryFile(QUERIES, versions, each, left_out)), "x")
    assert_same_images(file.queries)
    assert file.versions == versions
    assert [file.vectors(number).tobytes() for number in (0, 1)] == [VECTORS.tobytes(), SHORT.tobytes()]
    assert [ids.tolist() for ids in file.left_out] == [ids.tolist() for ids in left_out]
    assert len(file.competing) == 2
    for competing in file.competing:
        assert [labels.tolist() for labels in competing.labels] == [[0, 5], []]
        assert [rows.ids.tolist() for rows in competing.found] == [[[1, 2], [3, -1]]] * 2
        assert competing.found[1].label_ids.tolist() == [[0, 0], [5, -1]]
    assert_same_images(encoded_from_bytes(encoded_to_bytes(QUERIES), "x"))


def test_a_chunk_without_any_vector_is_read_back():
    """As one without labels and rows."""
    file = QueryFile([QUERIES[1]], ["1"], [Competing([], [])], [])
    read = queries_from_bytes(queries_to_bytes(file), "x")
    assert (len(read.queries), len(read.vectors(0)), list(read.competing[0].labels)) == (1, 0, [])
    assert read.competing[0].within(0, 9).labels == []


def test_pairs_are_read_back():
    """To the last bit."""
    pairs = ComparedPairs(
        np.array([0, 1]), np.array([9, 7]), np.array([1, 1]), np.array([1 / 3, 0.1]), np.array([-1, 1.0])
    )
    found = pairs_from_bytes(pairs_to_bytes(pairs), "x")
    assert {name: array.tobytes() for name, array in vars(found).items()} == {
        name: array.tobytes() for name, array in vars(pairs).items()
    }


@pytest.mark.parametrize("data", [b"", b"no file", pairs_to_bytes(ComparedPairs.joined([]))[:-30]])
def test_damage_is_an_error(data):
    """That names the file."""
    with pytest.raises(OutputError, match="queries/x is damaged"):
        pairs_from_bytes(data, "queries/x")
