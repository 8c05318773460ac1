"""The server as a process: it starts, drains on SIGTERM, and refuses what is not safe."""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

pytest.importorskip("uvicorn", reason="the extra `server` is not installed")

from PIL import Image

from lmm_classifier.core.errors import ConfigError, IndexFileError
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index
from lmm_classifier.server.run import open_server, serve
from tests.helpers.command_line import COMMAND
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.encoders import ColorEncoder
from tests.helpers.live_server import LiveServer, read_reply, request

PNG = {"content_type": "image/png"}


def test_a_server_needs_an_encoder(config):
    """With vectors instead of images there is nothing that it could answer; it says so and does not start."""
    config.set("encoder.backend=vectors")
    with pytest.raises(ConfigError, match="The server classifies images, but encoder.backend is vectors"):
        serve(config)


def test_images_inside_are_answered_at_the_end(config, encoder, images):
    """What asks after that is refused; the connections are closed."""
    with LiveServer(config, encoder) as server, server.connect() as connection, server.connect() as idle:
        encoder.gate.clear()
        connection.sendall(request("POST", "/v1/classify", images[0], **PNG))
        server.wait_until(lambda: server.state.queue.statistics.waiting == 1)
        server.stop()
        assert server.state.why_not_ready()
        encoder.gate.set()
        assert read_reply(connection).status == 200
        assert read_reply(connection) is None
        assert read_reply(idle) is None


def test_images_that_take_too_long_are_503_at_the_end(config, encoder, images):
    """After the time for draining; nothing hangs."""
    config.server.drain_seconds = 0.2
    with LiveServer(config, encoder) as server, server.connect() as connection:
        encoder.gate.clear()
        connection.sendall(request("POST", "/v1/classify", images[0], x_deadline_ms="60000", **PNG))
        server.wait_until(lambda: server.state.queue.statistics.waiting == 1)
        server.stop()
        reply = read_reply(connection)
        encoder.gate.set()
        assert (reply.status, reply.json["type"]) == (503, "/problems/draining")


def test_what_cannot_be_opened_ends_the_server(config, tmp_path):
    """With the error of the library."""
    config.retrieval.index_path = tmp_path / "none"
    config.server.port = 0
    with pytest.raises(IndexFileError, match="none"):
        serve(config, ColorEncoder())


def test_an_address_that_cannot_be_used(config):
    """One in use, one of another machine, and one that is none."""
    config.server.port = 0
    _, listening = open_server(config, ColorEncoder())
    with listening:
        config.server.port = listening.getsockname()[1]
        with pytest.raises(ConfigError, match=str(config.server.port)):
            open_server(config, ColorEncoder())


def test_a_public_address_without_a_token_does_not_start(config, monkeypatch):
    """Before the index is opened."""
    monkeypatch.delenv("LMM_CLASSIFIER_TOKEN", raising=False)
    config.server.host = "0.0.0.0"
    with pytest.raises(ConfigError, match="LMM_CLASSIFIER_TOKEN"):
        serve(config, ColorEncoder())


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder with an index."""
    from lmm_classifier.index.build.builder import build_index_from_directory

    root = tmp_path_factory.mktemp("serve")
    draw_dataset(root / "data", ("stripes", "gingham"), count=3)
    build_index_from_directory(root / "data", root / "index", config=offline_config(root / "index"))
    return root


class ServeProcess:
    """The command `serve` in a process, after its port is open."""

    def __init__(self, folder, *options):
        self.process = subprocess.Popen(
            [sys.executable, COMMAND, "serve", "--index", "index", "--config", "offline", "--port", "0", *options],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        lines = self.process.stderr
        self.url = next(found[0] for line in lines if (found := re.findall(r"http://[\w.:]+(?=;)", line)))
        self.rest = []
        self._reader = threading.Thread(target=lambda: self.rest.extend(lines), daemon=True)
        self._reader.start()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(60)
        self.process.stderr.close()
        return code, "".join(self.rest)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_signal_ends_the_command(drawn, number):
    """With the exit code 0: that is how a server ends. Also while it starts."""
    code, rest = ServeProcess(drawn).end(number)
    assert (code, "The server ended." in rest, "Traceback" in rest) == (0, True, False), rest


@pytest.mark.long
def test_a_killed_server_lost_nothing_that_it_acknowledged(drawn, tmp_path):
    """Killed without a warning while four clients teach: what they were told is there, and the index is sound."""
    shutil.copytree(drawn, tmp_path / "place")
    served = ServeProcess(tmp_path / "place", "--set", f"retrieval.index_path={tmp_path / 'place' / 'index'}")
    port = int(served.url.rpartition(":")[2])
    acknowledged, stopped = [], threading.Event()

    def teach(client):
        for number in range(200):
            image = io.BytesIO()
            Image.effect_noise((24, 24), 90).save(image, "PNG")
            body = form_of(image.getvalue(), f"label {client}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 60) as connection:
                connection.sendall(
                    request("POST", "/v1/examples", body, content_type="multipart/form-data; boundary=XX")
                )
                reply = read_reply(connection)
                if reply is not None and reply.status == 201:
                    acknowledged.extend(example["path"] for example in reply.json["added"])
            if len(acknowledged) > 60:
                stopped.set()
            if stopped.is_set() and number % 5 == client:
                return

    threads = [threading.Thread(target=teach, args=(client,)) for client in range(4)]
    for thread in threads:
        thread.start()
    assert stopped.wait(240)
    code, _ = served.end(signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert code == -signal.SIGKILL
    index = tmp_path / "place" / "index"
    assert set(acknowledged) <= set(read_index(index).paths)
    assert [finding.what for finding in check_index(index) if finding.severity == "damage"] == []
    again = IndexEditor(index, offline_config(index))
    for edit in [edit.id for edit in again.edits(1000) if edit.kind == "add"]:
        again.undo(edit)
    assert set(read_index(index).paths) == set(read_index(drawn / "index").paths)


def form_of(image, label):
    """Return the bytes of a form with an image and a label."""
    head = 'content-disposition: form-data; name="'
    return (
        f'--XX\r\n{head}image"; filename="x.png"\r\n\r\n'.encode()
        + image
        + f'\r\n--XX\r\n{head}label"\r\n\r\n{label}\r\n--XX--\r\n'.encode()
    )
