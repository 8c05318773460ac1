"""The names that must keep working, as a contract: import, signature, behaviour."""

import inspect
import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import numpy as np
import pytest

import lmm_classifier
from lmm_classifier import Classification, HybridClassifier, PipelineConfig, build_index_from_directory
from lmm_classifier.data.synthetic.catalog import draw
from tests.helpers.corpora import draw_corpus, offline_config
from tests.helpers.paths import ROOT


def test_exported_names_are_sorted_and_real():
    """`__all__` is sorted, and each name is there and listed by dir()."""
    assert lmm_classifier.__all__ == sorted(lmm_classifier.__all__)
    for name in lmm_classifier.__all__:
        assert getattr(lmm_classifier, name) is not None
        assert name in dir(lmm_classifier)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = lmm_classifier.nothing_such


@pytest.mark.parametrize("name", ["config", "embeddings", "index_builder", "logging_config", "pipeline", "rerank"])
def test_promised_modules_import(name):
    """Each promised module is importable under the package."""
    assert import_module(f"lmm_classifier.{name}").__doc__


def test_signatures():
    """Parameters keep their names, order and defaults."""
    build = inspect.signature(build_index_from_directory).parameters
    assert list(build)[:4] == ["image_root", "output_path", "batch_size", "config"]
    assert build["batch_size"].default == 64
    assert build["config"].default is None
    assert next(iter(inspect.signature(HybridClassifier).parameters)) == "config"
    assert list(inspect.signature(HybridClassifier.classify).parameters) == ["self", "image"]
    assert list(inspect.signature(HybridClassifier.classify_paths).parameters)[:2] == ["self", "paths"]
    assert {"label", "score", "used_reranker", "decision", "candidates"} <= {one.name for one in fields(Classification)}
    assert isinstance(Classification.is_unknown, property)


def test_build_and_classify_as_promised(tmp_path):
    """Build with keywords only, read a YAML, classify a PIL image: label, score, used_reranker."""
    corpus = draw_corpus(tmp_path / "corpus")
    report = build_index_from_directory(
        image_root=corpus, batch_size=64, output_path=tmp_path / "index.npz", config=PipelineConfig.offline()
    )
    assert report.total == 24
    text = (ROOT / "config/offline.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(
        f"labels: [stripes, polka_dots]\nallow_unknown: false\n{text}", encoding="utf-8"
    )
    config = PipelineConfig.from_yaml(tmp_path / "mine.yaml")
    config.retrieval.index_path = tmp_path / "index.npz"
    result = HybridClassifier(config).classify(draw("stripes", np.random.default_rng(7), 96))
    assert result.label in ("stripes", "polka_dots")
    assert 0 <= result.score <= 1
    assert isinstance(result.used_reranker, bool)


def test_index_builder_runs_as_a_module_without_a_warning(tmp_path):
    """`python -m lmm_classifier.index_builder` works from a plain checkout, silent even where warnings are errors."""
    draw_corpus(tmp_path / "corpus", count=2)
    command = [sys.executable, "-W", "error", "-m", "lmm_classifier.index_builder", str(tmp_path / "corpus")]
    options = ["--output", str(tmp_path / "X.npz"), "--batch-size", "64", "--config", "config/offline.yaml"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "RuntimeWarning" not in done.stderr
    assert offline_config(tmp_path / "X.npz").retrieval.index_path.is_file()


def test_unknown_label_is_configurable(tmp_path):
    """A rejected picture carries config.unknown_label, and says so."""
    corpus = draw_corpus(tmp_path / "corpus", count=3)
    build_index_from_directory(corpus, tmp_path / "index.npz", config=PipelineConfig.offline())
    config = offline_config(tmp_path / "index.npz", unknown_label="none of these", retrieval__open_set_threshold=1.0)
    result = HybridClassifier(config).classify(draw("camouflage", np.random.default_rng(7), 96))
    assert result.is_unknown
    assert result.label == "none of these"
    assert result.decision.reason == "novel"
