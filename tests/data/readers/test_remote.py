"""Files behind a web server: what it tells, what it refuses, and that nothing of it escapes as another error."""

import pytest

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.readers.remote import RemoteFile, RemoteFolder, list_folder
from tests.helpers.remote_sources import web_server

pytest.importorskip("fsspec", reason="needs fsspec")
pytest.importorskip("aiohttp", reason="needs aiohttp")
pytestmark = pytest.mark.long


@pytest.fixture
def server(tmp_path):
    with web_server(tmp_path, None) as url:
        yield url, tmp_path / "www"


def test_a_folder_is_listed_by_its_links(server):
    """Links that leave the folder are refused."""
    url, folder = server
    (folder / "images/a").mkdir(parents=True)
    (folder / "images/a/1.png").write_bytes(b"one")
    (folder / "other.png").write_bytes(b"other")
    root, rows = list_folder(f"{url}/images")
    assert [row.path for row in rows if not row.problem] == ["a/1.png"]
    assert (root / "a/1.png").read_bytes() == b"one"
    assert (RemoteFolder(f"{url}/images") / "a/1.png").stat().st_size == 3


def test_what_is_not_there(server):
    """Errors are those of files, and name the URL."""
    url, _ = server
    with pytest.raises(FileNotFoundError, match="nothing.png does not exist"):
        RemoteFile(f"{url}/nothing.png").stat()
    with pytest.raises(DatasetError, match=url):
        list_folder(f"{url}/nothing")
    with pytest.raises(OSError, match="cannot be reached"):
        RemoteFile("http://127.0.0.1:9/x.png").read_bytes()


@pytest.mark.parametrize("path", ["../x", "a/%2e%2e/%2e%2e/x", "a.png?versionId=1", "a.png#x", "/x", "a//x", "%2Fx"])
def test_an_id_never_leads_out_of_the_folder(path):
    """Not by a percent sign either; a query would ask for something else."""
    place = RemoteFolder("http://127.0.0.1:9/d") / path
    for read in (place.stat, place.read_bytes):
        with pytest.raises(OSError, match="leaves the folder, or is a query"):
            read()


def test_parts_of_a_file(server):
    """Nothing beyond the end."""
    url, folder = server
    (folder / "x.bin").write_bytes(bytes(range(100)))
    file = RemoteFile(f"{url}/x.bin")
    assert file.read_range(10, 5) == bytes(range(10, 15))
    assert file.read_range(0, 0) == b""
    assert file.read_bytes() == bytes(range(100))
    with file.open() as opened:
        opened.seek(98)
        assert opened.read() == bytes([98, 99])
