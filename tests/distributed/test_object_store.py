"""A table on an object store: the same as on a disk, also where the store fails now and then."""

import os

import pytest

from lmm_classifier.distributed.build import build_table
from lmm_classifier.distributed.engines.local import InProcess
from lmm_classifier.distributed.maintenance import ChunkProblem, verify_chunks
from lmm_classifier.index.build.builder import build_index_from_directory
from tests.helpers.chunked_builds import rows_of_index, rows_of_table
from tests.helpers.faulty_store import Faults, faulty_store
from tests.helpers.remote_sources import s3_server

pytest.importorskip("lance", reason="lance is not installed")
pytest.importorskip("moto", reason="moto is not installed")
pytestmark = pytest.mark.long


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The URL of an empty folder; the server of moto keeps what other tests wrote."""
    with s3_server(tmp_path, monkeypatch) as url:
        yield f"{url}/{tmp_path.name}"


def check(url, corpus, report, tmp_path):
    """Each row is there once, with the bits of a local index, and each chunk is good."""
    expected = build_index_from_directory(corpus.root, tmp_path / "local", config=corpus.config)
    assert rows_of_table(url) == rows_of_index(tmp_path / "local")
    assert report.indexed == expected.indexed
    assert not [found for found in verify_chunks(url) if isinstance(found, ChunkProblem)]


def test_a_table_is_built_on_an_object_store(bucket, corpus, tmp_path):
    """And again, which encodes nothing."""
    report = build_table(corpus.root, f"{bucket}/table", corpus.config, InProcess(), chunk_files=8)
    check(f"{bucket}/table", corpus, report, tmp_path)
    again = build_table(corpus.root, f"{bucket}/table", corpus.config, InProcess(), chunk_files=8)
    assert again.changes.encoded == 0


@pytest.mark.parametrize(
    "faults",
    [Faults(refused=0.05), Faults(lost_answers=("/chunks/", "/runs/"))],
    ids=["refused", "lost answers"],
)
def test_faults_of_the_store_lose_and_double_nothing(bucket, corpus, tmp_path, monkeypatch, faults):
    """Requests that are refused, and PUTs that succeed although the answer says that they failed."""
    import fsspec

    with faulty_store(os.environ["AWS_ENDPOINT_URL"], faults) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        report = build_table(corpus.root, f"{bucket}/table", corpus.config, InProcess(), chunk_files=12)
        check(f"{bucket}/table", corpus, report, tmp_path)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert sum(faults.counts.values()) >= 3
