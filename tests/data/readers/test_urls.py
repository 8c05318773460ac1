"""URLs: what may be stored, and that no secret is printed."""

import pytest

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.readers.urls import checked_url, is_url


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:hunter2secret@bucket/x",
        "https://user:hunter2secret@host/x.zip",
        "https://host/x.zip?X-Amz-Signature=hunter2secret",
        "https://host/x.zip#token=hunter2secret",
        "zip://a.zip::s3://bucket/x",
        "simplecache::s3://bucket/x",
        "file:///etc/passwd",
        "ftp://host/x",
        "gopher://host/x",
        "github://org:repo@main/x",
        "http:///x",
        "s3://bucket/../other",
        "http://host/a b",
        "http://[::1/x",
    ],
)
def test_other_urls_are_refused_without_their_secrets(url):
    """Chains, other schemes, passwords, signatures and paths that lead up."""
    assert is_url(url)
    with pytest.raises(DatasetError) as caught:
        checked_url(url)
    assert "hunter2secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket/images/", "gs://bucket/x.zip", "https://host:8000/d/list.csv"])
def test_plain_urls_are_kept(url):
    """Only a slash at the end goes."""
    assert checked_url(url) == url.rstrip("/")


@pytest.mark.parametrize("path", ["images", "/a/b", "C:\\images", "C:/images", "a:b", "./s3:/x", "hf:owner/name"])
def test_paths_are_no_urls(path):
    """A drive is no scheme."""
    assert not is_url(path)
