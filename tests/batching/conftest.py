"""A small index, and classifiers on it that a test holds back."""

import pytest

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder, draw_sides
from tests.helpers.gates import GatedEncoder


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A dataset, its index, and new images of the same labels."""
    root = tmp_path_factory.mktemp("batching")
    draw_sides(root / "dataset", count=6)
    draw_sides(root / "new", count=4, seed=1)
    config = offline_config(root / "index")
    build_index_from_directory(root / "dataset", root / "index", config=config, encoder=ColorEncoder())
    return root


@pytest.fixture
def paths(place):
    """New images."""
    return sorted((place / "new").rglob("*.png"))


@pytest.fixture
def encoder():
    """An encoder that stops when its gate is closed; at the end it lets all go."""
    made = GatedEncoder(refused=[(23, 4)])
    yield made
    made.errors.clear()
    made.gate.set()
    made.hold.set()


@pytest.fixture
def classifier(place, encoder):
    """A classifier with two readers and without a reranker."""
    config = offline_config(place / "index", rerank__enabled=False, images__threads=2)
    with HybridClassifier(config, encoder) as opened:
        yield opened
