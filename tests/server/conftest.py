"""A small index, an application on it in this process, and a server on a socket."""

import shutil
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra `server` is not installed")
pytest.importorskip("httpx2", reason="the client of the tests is not installed")

from starlette.testclient import TestClient

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.server.app import create_app
from lmm_classifier.server.security.access import Access
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder, draw_sides
from tests.helpers.gates import GatedEncoder
from tests.helpers.live_server import PATIENCE, LiveServer


def settings_on(place):
    """Return settings without a reranker on the index of a place."""
    return offline_config(place / "index", rerank__enabled=False, images__threads=2)


def opened(config, encoder=None, tokens=None, wait=True):
    """Return an application that has started, and is ready unless it is not waited for."""
    access = None if tokens is None else Access(tokens, Access.of(config.server).hosts)
    app, state = create_app(config, encoder or ColorEncoder(), access)
    made = TestClient(app, "http://localhost", raise_server_exceptions=False)
    made.state = state
    made.__enter__()
    end = time.monotonic() + PATIENCE
    while wait and (state.why_not_ready() or state.queue.statistics.waiting):  # the first image may be on its way out
        assert time.monotonic() < end, state.why_not_ready()
        time.sleep(0.005)
    return made


@pytest.fixture(scope="session")
def made_index(tmp_path_factory):
    """A dataset, its index, and new images of the same labels."""
    root = tmp_path_factory.mktemp("server")
    draw_sides(root / "dataset", count=6)
    draw_sides(root / "new", count=4, seed=1)
    config = offline_config(root / "index")
    build_index_from_directory(root / "dataset", root / "index", config=config, encoder=ColorEncoder())
    return root


@pytest.fixture
def place(made_index, tmp_path):
    """A copy of the index for the test alone; the dataset is that of all."""
    shutil.copytree(made_index / "index", tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    return tmp_path


@pytest.fixture
def images(made_index):
    """The bytes of new images."""
    return [path.read_bytes() for path in sorted((made_index / "new").rglob("*.png"))]


@pytest.fixture
def config(made_index):
    """Settings without a reranker, on an index that no test changes."""
    return settings_on(made_index)


@pytest.fixture
def encoder():
    """An encoder that stops when its gate is closed; at the end it lets all go."""
    made = GatedEncoder(refused=[(23, 4)])
    yield made
    made.errors.clear()
    made.gate.set()
    made.hold.set()


@pytest.fixture
def open_client():
    """Return a function that opens an application and waits until it is ready; all are closed at the end."""
    started = []

    def client(config, encoder=None, **options):
        started.append(opened(config, encoder, **options))
        return started[-1]

    yield client
    for made in started:
        made.__exit__(None, None, None)


@pytest.fixture(scope="session")
def client(made_index):
    """An application on the index that no test changes; no test changes its state."""
    made = opened(settings_on(made_index))
    yield made
    made.__exit__(None, None, None)


@pytest.fixture(scope="session")
def inbox(made_index, tmp_path_factory):
    """A root with a folder of new images, some of a label that the index does not have."""
    root = tmp_path_factory.mktemp("inbox")
    shutil.copytree(made_index / "new", root / "new")
    (root / "new" / "yellow").mkdir()
    for place in range(5):
        pixels = np.random.default_rng((9, place)).integers(0, 70, (16, 16, 3))
        pixels[..., :2] += 170
        Image.fromarray(pixels.astype(np.uint8)).save(root / "new" / "yellow" / f"{place:02}.png")
    return root


@pytest.fixture
def reviewing_config(place, inbox):
    """Settings on an index of the test's own, with a root."""
    config = settings_on(place)
    config.server.roots = {"inbox": inbox}
    return config


@pytest.fixture
def teacher(open_client, place):
    """An application on an index of the test's own."""
    return open_client(offline_config(place / "index", rerank__enabled=False))


@pytest.fixture
def open_server():
    """Return a function that starts a server on a socket; all are stopped at the end."""
    started = []

    def server(config, encoder=None):
        started.append(LiveServer(config, encoder or ColorEncoder()).__enter__())
        return started[-1]

    yield server
    for made in started:
        made.__exit__(None, None, None)


@pytest.fixture(scope="session")
def calibrated_index(made_index, tmp_path_factory):
    """The index, calibrated."""
    path = tmp_path_factory.mktemp("calibrated") / "index"
    shutil.copytree(made_index / "index", path, ignore=shutil.ignore_patterns("*.lock"))
    calibrate_index(path, offline_config(path))
    return path


@pytest.fixture
def calibrated(open_client, calibrated_index, tmp_path):
    """An application on a calibrated index of the test's own."""
    shutil.copytree(calibrated_index, tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    return open_client(offline_config(tmp_path / "index", rerank__enabled=False))


@pytest.fixture
def leveled(open_client, tmp_path):
    """An application on a calibrated index with a hierarchy; the encoder cannot tell the two blue labels apart."""
    dataset = draw_sides(tmp_path / "leveled", count=20)
    (tmp_path / "tree.yaml").write_text("blue: [blue_left, blue_right]\n")
    config = offline_config(tmp_path / "index", rerank__enabled=False, hierarchy=tmp_path / "tree.yaml")
    build_index_from_directory(dataset, tmp_path / "index", config=config, encoder=ColorEncoder())
    calibrate_index(tmp_path / "index", config)
    return open_client(config)


@pytest.fixture(scope="session")
def mistaken(made_index, tmp_path_factory):
    """A dataset with a wrong label and a copy, with its index."""
    root = tmp_path_factory.mktemp("mistaken")
    shutil.copytree(made_index / "dataset", root / "dataset")
    first, *_ = sorted((root / "dataset/red").iterdir())
    first.rename(root / "dataset/green/wrong.png")
    source = sorted((root / "dataset/blue_left").iterdir())[0]
    shutil.copy(source, root / "dataset/blue_left/copy.png")
    config = offline_config(root / "index", rerank__enabled=False)
    build_index_from_directory(root / "dataset", root / "index", config=config, encoder=ColorEncoder())
    return root


@pytest.fixture
def auditor(open_client, mistaken, tmp_path):
    """An application on an index with mistakes, of the test's own, whose audit has ended."""
    shutil.copytree(mistaken / "index", tmp_path / "mistaken", ignore=shutil.ignore_patterns("*.lock"))
    made = open_client(offline_config(tmp_path / "mistaken", rerank__enabled=False))
    end = time.monotonic() + PATIENCE
    while made.state.auditing.view().state == "running":
        assert time.monotonic() < end, made.state.auditing.view()
        time.sleep(0.005)
    return made
