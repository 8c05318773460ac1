"""A drawn dataset with its index, and a folder of new images, some of them of labels that the index does not have."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.datasets import draw_dataset, offline_config

NEW_LABELS = ("argyle", "camouflage")


@dataclass(frozen=True)
class DrawnFolder:
    """Unlabeled images, and a classifier that knows the labels of some of them."""

    root: Path
    new: Path
    config: PipelineConfig
    classifier: HybridClassifier


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Four known labels, and 8 images each of two new ones among the new images. Tests must not change it."""
    root = tmp_path_factory.mktemp("discovery")
    draw_dataset(root / "dataset", count=8, size=48)
    draw_dataset(root / "new", count=3, seed=1, size=48)
    draw_dataset(root / "new", NEW_LABELS, count=8, seed=1, size=48)
    config = offline_config(root / "index", rerank__enabled=False)
    build_index_from_directory(root / "dataset", root / "index", config=config)
    with HybridClassifier(config) as classifier:
        yield DrawnFolder(root, root / "new", config, classifier)
