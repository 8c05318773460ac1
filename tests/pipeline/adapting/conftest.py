"""A dataset with few images per label, and many new ones, in vectors of colors; and made vectors with a hierarchy."""

import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, draw_sides
from tests.helpers.vector_indexes import write_nested


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


@pytest.fixture(scope="package")
def coarse_flow(tmp_path_factory):
    """What decides by an index of made vectors with a hierarchy of folders, and answers coarse labels."""
    path = write_nested(tmp_path_factory.mktemp("coarse") / "index", dataset="dataset#label_from=path", count=25)
    values = PipelineConfig.preset("vectors")
    values.retrieval.index_path = path
    report = calibrate_index(path, values, CalibrationRequest(0.9))
    assert report.levels.thresholds
    assert "threshold of coarse labels, level 1" in report._repr_html_()
    with HybridClassifier(values) as opened:
        yield opened._current_flow()
