"""What the tests of commands share: one drawn dataset with its index, which no test changes."""

import shutil

import numpy as np
import pytest

from lmm_classifier.data.synthetic.catalog import draw
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with a dataset, its index in one file, new images, and unknown ones. Tests must not change it."""
    root = tmp_path_factory.mktemp("cli")
    draw_dataset(root / "dataset", count=5, size=64)
    draw_dataset(root / "new", count=2, seed=1, size=64)
    draw_dataset(root / "other", ["camouflage"], count=2, seed=1, size=64)
    run("build", "dataset", "--output", "index.npz", "--config", OFFLINE, "--report", "report.json", cwd=root)
    return root


@pytest.fixture
def index_file(place, tmp_path):
    """A copy of the index that a test may calibrate."""
    return shutil.copy(place / "index.npz", tmp_path / "index.npz")


@pytest.fixture(scope="session")
def durable(tmp_path_factory):
    """A folder with a dataset and its durable index, under the name that is the default. Tests must not change it."""
    root = tmp_path_factory.mktemp("durable")
    draw_dataset(root / "dataset", count=4, size=48)
    run("build", "dataset", "--config", OFFLINE, cwd=root)
    return root


@pytest.fixture
def editable(tmp_path):
    """A folder with a dataset, its durable index, and an image of another label; a test may change everything."""
    draw_dataset(tmp_path / "dataset", count=4, size=48)
    draw("argyle", np.random.default_rng(0), 48).save(tmp_path / "photo.png")
    run("build", "dataset", "--config", OFFLINE, cwd=tmp_path)
    return tmp_path
