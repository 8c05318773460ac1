"""What the tests of edits share: an index of drawn images that a test may change."""

import shutil

import pytest

from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from tests.helpers.datasets import draw_dataset, offline_config


@pytest.fixture
def dataset(tmp_path):
    return draw_dataset(tmp_path / "dataset", count=6, size=48)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An index, and its dataset, which no test changes."""
    root = tmp_path_factory.mktemp("editor")
    draw_dataset(root / "dataset", count=6, size=48)
    build_index_from_directory(root / "dataset", root / "index", config=offline_config(root / "index"))
    return root


@pytest.fixture
def config(request, built, tmp_path):
    """The configuration of an index: a copy, or one of the test's own dataset where it has one."""
    config = offline_config(tmp_path / "index", rerank__enabled="false")
    if "dataset" in request.fixturenames:
        build_index_from_directory(request.getfixturevalue("dataset"), tmp_path / "index", config=config)
    else:
        shutil.copytree(built / "index", tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    return config


@pytest.fixture
def editor(config):
    return IndexEditor(config.retrieval.index_path, config)
