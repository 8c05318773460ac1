"""Files that workers share are written once, whole, by one of them."""

import threading

import pytest

from lmm_classifier.core.errors import ConfigError, DatasetError
from lmm_classifier.distributed.shared_files import ObjectFiles, open_shared_files
from tests.helpers.remote_sources import s3_server


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.long)])
def files(request, tmp_path, monkeypatch):
    """Files in a folder, and on an object store."""
    if request.param == "folder":
        yield open_shared_files(str(tmp_path / "shared"))
        return
    pytest.importorskip("moto", reason="moto is not installed")
    with s3_server(tmp_path, monkeypatch) as url:
        yield open_shared_files(f"{url}/{tmp_path.name}")  # the server of moto keeps what other tests wrote


def test_a_file_is_written_once(files):
    """The first writer wins, and the others are told."""
    assert files.put("a/one", b"first")
    assert not files.put("a/one", b"second")
    assert files.read("a/one") == b"first"
    assert files.exists("a/one")
    assert not files.exists("a/two")


def test_of_many_writers_one_wins(files):
    """Eight at once: exactly one writes, and all read the same."""
    won, barrier = [], threading.Barrier(8)

    def write(number):
        barrier.wait()
        if files.put("race/name", bytes([number]) * 1000):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert files.read("race/name") == bytes(won) * 1000
    assert [entry.name for entry in files.entries("race")] == ["race/name"]  # no temporary file is left


def test_files_are_listed_by_folder(files):
    """With their sizes; a folder that is not there has none."""
    for name in ("a/1", "a/b/2", "c/3"):
        files.put(name, b"x" * len(name))
    assert {(entry.name, entry.size) for entry in files.entries("a")} == {("a/1", 3), ("a/b/2", 5)}
    assert all(entry.time > 0 for entry in files.entries("c"))
    assert list(files.entries("nothing")) == []


def test_a_deleted_file_is_gone(files):
    """Deleting it twice is no error, reading it is one."""
    files.put("a/1", b"1")
    files.delete("a/1")
    files.delete("a/1")
    with pytest.raises(FileNotFoundError):
        files.read("a/1")
    assert list(files.entries("a")) == []


def test_only_some_urls_can_be_written():
    """A web server cannot, and a password in a URL would be printed."""
    assert isinstance(open_shared_files("s3://bucket/table"), ObjectFiles)
    with pytest.raises(ConfigError, match=r"s3:// or gs://"):
        open_shared_files("https://example.org/table")
    with pytest.raises(DatasetError, match="password"):
        open_shared_files("s3://user:secret@bucket/table")
