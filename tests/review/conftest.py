"""A small index, new images of its labels and of two others, and a review of them."""

import shutil
from types import SimpleNamespace

import pytest

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.reviewer import Reviewer
from tests.helpers.datasets import LABELS, draw_dataset, offline_config


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Draw and build once; tests copy it."""
    root = tmp_path_factory.mktemp("review")
    draw_dataset(root / "dataset", count=5, size=48)
    draw_dataset(root / "new", (*LABELS, "argyle", "chevron"), count=3, seed=7, size=48)
    build_index_from_directory(root / "dataset", root / "index", config=offline_config(root / "index"))
    return root


@pytest.fixture(scope="session")
def classified(built):
    """The index with a finished run over the new images; tests copy it."""
    folder = shutil.copytree(built / "index", built / "classified")
    config = offline_config(folder, rerank__enabled="false")
    with HybridClassifier(config) as classifier, Reviewer(classifier) as reviewer:
        reviewer.classify_folder(built / "new")
    return folder


@pytest.fixture
def review(built, classified, tmp_path):
    """A reviewer over a copy of the index, and a finished run over the new images."""
    config = offline_config(shutil.copytree(classified, tmp_path / "index"), rerank__enabled="false")
    with HybridClassifier(config) as classifier, Reviewer(classifier) as reviewer:
        (run,) = reviewer.runs.runs()
        items = {item.name: item.id for item in reviewer.runs.after(run.id)}
        yield SimpleNamespace(
            classifier=classifier, reviewer=reviewer, run=run.id, ids=items, new=built / "new", config=config
        )
