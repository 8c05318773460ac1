"""Small images are made anew: never a file itself, never metadata, never by a path."""

import io
import json
from hashlib import sha256

import pytest
from PIL import Image

from lmm_classifier.index.build.builder import build_index_from_directory
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder, draw_sides
from tests.helpers.live_server import LiveServer


@pytest.fixture
def photograph(tmp_path):
    """An index with one large photograph, which has metadata; return its file."""
    draw_sides(tmp_path / "dataset", count=2)
    exif = Image.Exif()
    exif[0x010E] = "<script>alert(1)</script> secret place"
    exif[0x0112] = 6  # it lies on its side
    path = tmp_path / "dataset" / "red" / "photograph.jpg"
    Image.effect_noise((600, 300), 60).convert("RGB").save(path, exif=exif, comment=b"secret comment")
    config = offline_config(tmp_path / "index")
    build_index_from_directory(tmp_path / "dataset", tmp_path / "index", config=config, encoder=ColorEncoder())
    return path


def hash_of(path):
    return sha256(path.read_bytes()).hexdigest()


def test_a_small_image_has_no_metadata(open_client, photograph):
    """It is a JPEG of the asked size, upright, and a browser may keep it."""
    client = open_client(offline_config(photograph.parents[2] / "index"))
    for side, size in ((64, (32, 64)), (128, (64, 128)), (256, (128, 256)), (1024, (300, 600))):
        reply = client.get(f"/v1/thumbs/{hash_of(photograph)}?side={side}")
        image = Image.open(io.BytesIO(reply.content))
        assert (image.format, image.size) == ("JPEG", size)
        assert not image.getexif()
        assert b"secret" not in reply.content
        assert "immutable" in reply.headers["cache-control"]
        tag = {"if-none-match": reply.headers["etag"]}
        assert client.get(f"/v1/thumbs/{hash_of(photograph)}?side={side}", headers=tag).status_code == 304


def test_a_changed_or_missing_file_is_404(open_client, photograph):
    """The content is compared with the id, and a removed file is no error of the server."""
    client = open_client(offline_config(photograph.parents[2] / "index"))
    name = hash_of(photograph)
    Image.new("RGB", (9, 9)).save(photograph)
    assert client.get(f"/v1/thumbs/{name}").status_code == 404
    photograph.unlink()
    reply = client.get(f"/v1/thumbs/{name}")
    assert reply.status_code == 404
    assert str(photograph.parent) not in reply.text


def test_each_is_made_once(open_client, photograph):
    """A second request does not read the file again."""
    client = open_client(offline_config(photograph.parents[2] / "index"))
    first = client.get(f"/v1/thumbs/{hash_of(photograph)}")
    name = hash_of(photograph)
    photograph.unlink()
    assert client.get(f"/v1/thumbs/{name}").content == first.content


def test_a_deleted_run_leaves_no_small_image(open_client, reviewing_config, images):
    """Neither in memory: its items are gone, and nobody gets their images any more."""
    client = open_client(reviewing_config)
    run = client.post("/v1/runs", json={"root": "inbox", "folder": "new"}).json()["id"]
    LiveServer.wait_until(None, lambda: client.get(f"/v1/runs/{run}").json()["state"] == "done")
    item = json.loads(client.get(f"/v1/runs/{run}/results").text.splitlines()[0])
    address = f"/v1/thumbs/{item['content_hash']}?item={item['id']}"
    assert client.get(address).status_code == 200
    assert client.delete(f"/v1/runs/{run}").status_code == 200
    assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["0" * 64, "x", "../../etc/passwd", "%2e%2e%2fetc%2fpasswd", "A" * 64, "red/00.png", "", "0" * 63 + "%00", "²"],
)
def test_nothing_else_is_sent(client, path):
    """Ids are hashes, never paths."""
    reply = client.get(f"/v1/thumbs/{path}")
    assert (reply.status_code, reply.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("side", ["0", "65", "-64", "1e2", "064", "x", "²"])
def test_only_some_sizes_are_made(client, side):
    """So that nobody fills the memory with all sizes."""
    assert client.get(f"/v1/thumbs/{'0' * 64}", params={"side": side}).status_code == 400
