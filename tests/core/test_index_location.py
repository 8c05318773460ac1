"""Paths and URLs of indexes."""

from pathlib import Path

import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.index_location import absolute_location, index_location, name_of, path_of
from lmm_classifier.neighbors.config import RetrievalConfig


@pytest.mark.parametrize("url", ["s3://b/i", "gs://bucket/deep/er/index", "az://c/i", "s3://b/i.lance"])
def test_urls_stay_text(url):
    """A slash at the end is dropped, once or twice."""
    assert index_location(f"{url}/") == index_location(index_location(url)) == url
    assert isinstance(index_location(url), str)
    assert absolute_location(url) == url
    assert path_of(url) is None
    assert RetrievalConfig(index_path=url).index_path == url


@pytest.mark.parametrize("path", ["index", "a/b.npz", "/x/y.lance", "odd:name/x", "s3/x"])
def test_everything_else_is_a_path(path):
    """Text or path."""
    assert index_location(path) == index_location(Path(path)) == Path(path)
    assert RetrievalConfig(index_path=path).index_path == Path(path)
    assert path_of(index_location(path)) == Path(path)


def test_the_home_folder_is_expanded(monkeypatch):
    """As for every path."""
    monkeypatch.setenv("HOME", "/home/someone")
    assert index_location("~/index") == Path("/home/someone/index")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://host/index", "begins with s3://"),
        ("ftp://host/index", "begins with s3://"),
        ("s3://bucket", "expected s3://BUCKET/NAME"),
        ("s3://bucket//index", "expected s3://BUCKET/NAME"),
        ("s3://bucket/../index", "expected s3://BUCKET/NAME"),
        ("s3://bucket/i?versionId=1", "expected s3://BUCKET/NAME"),
        ("s3://bucket/i\n", "expected s3://BUCKET/NAME"),
    ],
)
def test_urls_that_no_index_has(url, message):
    """The message says what is expected."""
    with pytest.raises(ConfigError, match=message):
        index_location(url)
    with pytest.raises(ConfigError, match=message):
        RetrievalConfig().index_path = url


def test_secrets_in_a_url_are_refused_and_not_shown():
    """They would be stored."""
    with pytest.raises(ConfigError, match="environment") as caught:
        index_location("s3://key:hush@bucket/index")
    assert "hush" not in str(caught.value)


def test_a_url_that_was_made_a_path():
    """`Path` drops a slash; the message says what to give."""
    with pytest.raises(ConfigError, match="Give the text s3://b/i"):
        index_location(Path("s3://b/i"))


def test_names():
    """Of a path its last part, wherever the program runs."""
    assert name_of("s3://bucket/animals") == "animals"
    assert name_of(Path("a/animals")) == "animals"
    assert name_of(Path()) == Path.cwd().name
