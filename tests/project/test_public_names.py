"""The public names as a contract: import, signature, behavior, and an example in each docstring that runs."""

import doctest
import inspect
import logging
import shutil
import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import numpy as np
import pytest

import lmm_classifier
from lmm_classifier import (
    CalibrationRequest,
    Classification,
    HybridClassifier,
    PipelineConfig,
    build_index_from_directory,
    calibrate_index,
)
from lmm_classifier.data.synthetic.catalog import draw
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.paths import ROOT

PUBLIC = [
    "AnswerOptions",
    "Audit",
    "BuildReport",
    "CalibrationReport",
    "CalibrationRequest",
    "Cancelled",
    "Candidate",
    "CapacityAssumptions",
    "CapacityPlan",
    "CapacityPrices",
    "Classification",
    "ClassifierQueue",
    "CoarseCandidate",
    "ConflictError",
    "Decision",
    "Discovery",
    "Dismissal",
    "DriftReport",
    "DriftTest",
    "Edit",
    "EditReport",
    "Evaluation",
    "Example",
    "ExportOptions",
    "ExportReport",
    "Finding",
    "FunctionEncoder",
    "HybridClassifier",
    "Index",
    "IndexEditor",
    "LabelHierarchy",
    "LabelImport",
    "LabeledResult",
    "LmmClassifierError",
    "Neighbor",
    "PipelineConfig",
    "Progress",
    "ProposedGroup",
    "ShownResults",
    "Suggestion",
    "SuggestionOptions",
    "Suggestions",
    "UnlabeledImages",
    "VectorError",
    "Workload",
    "audit_index",
    "build_index_from_directory",
    "calibrate_index",
    "check_index",
    "config_of_index",
    "configure_logging",
    "describe_index",
    "discover",
    "evaluate_folder",
    "evaluate_vectors",
    "export_index",
    "import_labels",
    "measure_reranker",
    "plan_capacity",
    "propose_hierarchy",
    "suggest",
    "suggest_without_index",
    "sync_index",
    "write_audit_page",
    "write_contact_sheet",
    "write_cost_page",
    "write_discovery_page",
    "write_evaluation_page",
    "write_results",
]
SLOW = ["measure_reranker", "write_cost_page"]  # they rerank; test_rerank_calibrator.py and test_cost_page.py do, too


def test_exported_names_are_the_public_ones():
    """`__all__` is the list above, and each name exists and is listed by dir()."""
    assert lmm_classifier.__all__ == PUBLIC
    for name in lmm_classifier.__all__:
        assert getattr(lmm_classifier, name) is not None
        assert name in dir(lmm_classifier)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = lmm_classifier.nothing_such


@pytest.mark.parametrize("name", ["config", "embeddings", "index_builder", "logging_config", "pipeline", "rerank"])
def test_seed_modules_import(name):
    """Each module of the first interface is importable under the package."""
    assert import_module(f"lmm_classifier.{name}").__doc__


@pytest.fixture(scope="module")
def example_folder(tmp_path_factory):
    """The folder that docstring examples run in: labeled, new and test images, and a calibrated index."""
    root = tmp_path_factory.mktemp("examples")
    draw_dataset(root / "images", count=8)
    draw_dataset(root / "test_images", count=2, seed=3)
    draw_dataset(root / "more", count=1, seed=5)
    (root / "new").mkdir()
    for number, path in enumerate(sorted((root / "more").rglob("*.png"))):
        path.rename(root / "new" / f"{number}.png")
    shutil.rmtree(root / "more")
    config = offline_config(root / "index")
    build_index_from_directory(root / "images", root / "index", config=config)
    calibrate_index(root / "index", config, CalibrationRequest(keep_known=0.95))
    return root


@pytest.fixture
def unchanged_logging():
    """An example that sets up logging leaves no trace for other tests."""
    loggers = [logging.getLogger(name) for name in ("lmm_classifier", "py.warnings")]
    states = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in states:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def examples(name):
    """Return the examples in the docstring of a public name, and in those of its methods."""
    finder = doctest.DocTestFinder(recurse=True)
    return [test for test in finder.find(getattr(lmm_classifier, name), name) if test.examples]


def test_each_public_name_has_an_example():
    """Also those whose examples take seconds."""
    assert [name for name in PUBLIC if not examples(name)] == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in SLOW else name for name in PUBLIC]
)
@pytest.mark.usefixtures("unchanged_logging")
def test_each_public_name_has_an_example_that_runs(name, example_folder, tmp_path, monkeypatch):
    """The docstring of each public name, or one of its methods, holds an example; all of them run."""
    work = tmp_path / "work"
    shutil.copytree(example_folder, work)
    monkeypatch.chdir(work)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    output = []
    for test in examples(name):
        runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)


def test_signatures():
    """Parameters keep their names, order and defaults."""
    build = inspect.signature(build_index_from_directory).parameters
    assert list(build)[:4] == ["image_root", "output_path", "batch_size", "config"]
    assert build["batch_size"].default == 64
    assert build["config"].default is None
    assert next(iter(inspect.signature(HybridClassifier).parameters)) == "config"
    assert list(inspect.signature(HybridClassifier.classify).parameters) == ["self", "image", "options"]
    assert list(inspect.signature(HybridClassifier.classify_paths).parameters)[:2] == ["self", "paths"]
    names = {field.name for field in fields(Classification)}
    assert {"label", "score", "used_reranker", "decision", "candidates"} <= names
    assert isinstance(Classification.is_unknown, property)


def test_build_and_classify(tmp_path):
    """Build with keywords only, read a YAML, classify a PIL image: label, score, used_reranker."""
    dataset = draw_dataset(tmp_path / "dataset")
    report = build_index_from_directory(
        image_root=dataset, batch_size=64, output_path=tmp_path / "index.npz", config=PipelineConfig.offline()
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
    draw_dataset(tmp_path / "dataset", count=2)
    command = [sys.executable, "-W", "error", "-m", "lmm_classifier.index_builder", str(tmp_path / "dataset")]
    options = ["--output", str(tmp_path / "X.npz"), "--batch-size", "64", "--config", "config/offline.yaml"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "RuntimeWarning" not in done.stderr
    assert offline_config(tmp_path / "X.npz").retrieval.index_path.is_file()


def test_unknown_label_is_configurable(tmp_path):
    """A rejected image carries config.unknown_label, and is_unknown is true."""
    dataset = draw_dataset(tmp_path / "dataset", count=3)
    build_index_from_directory(dataset, tmp_path / "index.npz", config=PipelineConfig.offline())
    config = offline_config(tmp_path / "index.npz", unknown_label="none of these", retrieval__open_set_threshold=1.0)
    result = HybridClassifier(config).classify(draw("camouflage", np.random.default_rng(7), 96))
    assert result.is_unknown
    assert result.label == "none of these"
    assert result.decision.reason == "novel"
