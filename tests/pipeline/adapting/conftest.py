"""A dataset with few images per label, and many new ones, in vectors of colors."""

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, draw_sides


@pytest.fixture(scope="package")
def drawn(tmp_path_factory):
    """A folder with a dataset, its index for two encoders and for one, and new images. Tests must not change it."""
    root = tmp_path_factory.mktemp("adapting")
    draw_sides(root / "dataset", count=6)
    draw_sides(root / "new", count=12, seed=1)
    build_index_from_directory(root / "dataset", root / "index.npz", config=config(root), encoder=ColorEncoder())
    both = [ColorEncoder(), LayoutEncoder()]
    build_index_from_directory(root / "dataset", root / "both.npz", config=config(root, "both"), encoder=both)
    return root


def config(root, name="index"):
    values = PipelineConfig()
    values.retrieval.index_path = root / f"{name}.npz"
    values.rerank.enabled = False
    return values


@pytest.fixture
def classifier(drawn):
    """A classifier with one encoder."""
    with HybridClassifier(config(drawn), ColorEncoder()) as opened:
        yield opened


@pytest.fixture
def fused(drawn):
    """A classifier with two encoders."""
    with HybridClassifier(config(drawn, "both"), [ColorEncoder(), LayoutEncoder()]) as opened:
        yield opened
