"""How the library lance is reached, and what is told where it fails."""

import subprocess
import sys

import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.backends.lance_table.datasets import Location, cannot, storage_options
from tests.helpers.paths import ROOT

NAMES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({}, {"region": "us-east-1"}),
        ({"AWS_DEFAULT_REGION": "eu-west-3"}, {"region": "eu-west-3"}),
        ({"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, {"region": "a"}),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:5055"},
            {"region": "us-east-1", "endpoint": "http://127.0.0.1:5055", "allow_http": "true"},
        ),
        (
            {"AWS_ENDPOINT_URL": "http://other", "AWS_ENDPOINT_URL_S3": "https://minio.example"},
            {"region": "us-east-1", "endpoint": "https://minio.example", "allow_http": "false"},
        ),
    ],
)
def test_the_object_store_is_that_of_the_environment(environment, options, monkeypatch):
    """The variables are those of other programs; a path and another store need none."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert storage_options("s3://bucket/t") == options
    assert storage_options("/a/t.lance") is None
    assert storage_options("gs://bucket/t") is None


def test_errors_name_the_place_and_no_secret():
    """Nor the line of the library's source."""
    error = cannot("s3://b/t", OSError("Access denied: https://u:pw@host/i?X-Amz-Signature=hush, /x/rust/io.rs:3:5"))
    assert str(error).startswith("s3://b/t cannot be used: Access denied")
    assert all(secret not in str(error) for secret in ("hush", "pw@", ".rs:3"))


def test_a_dataset_that_is_not_there(tmp_path):
    """It is opened as None, or refused by its place; one that is broken is an error in both cases."""
    pytest.importorskip("lance", reason="needs lance")
    place = Location(str(tmp_path / "none.lance"))
    assert place.open_if_there() is None
    with pytest.raises(IndexFileError, match=r"none\.lance cannot be used"):
        place.open()
    versions = tmp_path / "broken.lance/_versions"
    versions.mkdir(parents=True)
    (versions / "18446744073709551614.manifest").write_bytes(b"nonsense")
    with pytest.raises(IndexFileError, match="cannot be used"):
        Location(str(versions.parent)).open_if_there()


def test_without_the_library_its_extra_is_named():
    """Whatever is asked of a table."""
    code = """
import pytest
from lmm_classifier import Index, check_index, calibrate_index
from lmm_classifier.core.errors import MissingExtraError
for use in (Index.open, check_index, calibrate_index, lambda url: Index.from_vectors([[1, 0]], ["x"]).save(url)):
    for url in ("s3://bucket/table", "t.lance"):
        with pytest.raises(MissingExtraError, match=r"pip install 'lmm-classifier\\[lance\\]'"):
            use(url)
"""
    program = f"import sys; sys.modules['lance'] = sys.modules['pyarrow'] = None{code}"
    done = subprocess.run([sys.executable, "-P", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_reason_of_an_object_store_is_told():
    """It is at the end of a long message."""
    error = cannot("s3://bucket/t", OSError(f"Error performing GET http://127.0.0.1/{'x' * 250}: NoSuchBucket"))
    assert str(error).endswith("NoSuchBucket.")
