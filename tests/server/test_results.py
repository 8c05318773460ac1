"""Examples are found by the hash of their content in every version of an index."""

import gzip

import pytest

pytest.importorskip("starlette", reason="the extra `server` is not installed")

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import read_index
from lmm_classifier.server.results import ExampleIds, packed
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder


@pytest.fixture(params=["durable", "npz"])
def contents(request, made_index, tmp_path):
    """The contents of an index of either kind."""
    if request.param == "durable":
        return read_index(made_index / "index")
    path = tmp_path / "index.npz"
    build_index_from_directory(made_index / "dataset", path, config=offline_config(path), encoder=ColorEncoder())
    return read_index(path)


def test_paths_and_hashes(contents):
    """There and back; what is not there is None."""
    ids = ExampleIds(contents)
    for row, path in enumerate(contents.paths):
        assert ids.hash_of(path) == contents.hashes[row]
        assert ids.rows_of(contents.hashes[row]) == [row]
    assert [ids.hash_of(path) for path in ("", "red/000.png", "zzz", contents.paths[0] + "x")] == [None] * 4
    assert ids.rows_of("0" * 64) == []


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("", False), ("br", False), ("gzip;q=0", False), ("gzip;q=0.1", True)],
)
def test_a_body_is_compressed_where_that_is_accepted(accepted, is_packed):
    """The bytes are the same, and caches keep the two apart."""
    body, headers = packed(b"x" * 1000, accepted)
    assert headers["Vary"] == "Accept-Encoding"
    assert (headers.get("Content-Encoding") == "gzip") == is_packed
    assert (gzip.decompress(body) if is_packed else body) == b"x" * 1000
