"""What a person gets in a notebook: every report shows itself, and every long run shows how far it is."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from lmm_classifier import (
    CalibrationRequest,
    Classification,
    HybridClassifier,
    IndexEditor,
    audit_index,
    build_index_from_directory,
    calibrate_index,
    check_index,
    evaluate_folder,
    measure_reranker,
    sync_index,
)
from lmm_classifier.core.errors import ClosedError, ConfigError
from tests.helpers.datasets import draw_dataset, offline_config
from tests.html.html_page import assert_harmless_fragment


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset with a broken file, test images with an unknown label, and a calibrated index."""
    root = tmp_path_factory.mktemp("notebook")
    draw_dataset(root / "images", count=8)
    (root / "images/stripes/<b>.png").write_bytes(b"no image")
    draw_dataset(root / "test", count=3, seed=3)
    (root / "test/stripes").rename(root / "test/unknown")
    config = offline_config(root / "index")
    build_index_from_directory(root / "images", root / "index", config=config)
    calibrate_index(root / "index", config, CalibrationRequest(keep_known=0.9))
    return root


@pytest.fixture
def config(folder):
    """The settings of the index."""
    return offline_config(folder / "index")


@pytest.fixture(scope="module")
def classifier(folder):
    """A classifier with the index."""
    with HybridClassifier(offline_config(folder / "index")) as opened:
        yield opened


def test_a_build_shows_labels_and_skipped_files(folder, tmp_path):
    """With the reasons; a label or a file name of any characters stays text."""
    report = build_index_from_directory(folder / "images", tmp_path / "x.npz", config=offline_config(tmp_path))
    page = assert_harmless_fragment(report._repr_html_())
    assert page.texts["dt"][:2] == ["images", "labels"]
    assert page.texts["dd"][:2] == [str(report.total), str(len(report.indexed))]
    assert set(report.indexed) <= set(page.texts["th"])
    assert "stripes/<b>.png" in page.text
    assert report.skipped[0].reason in page.text


def test_a_sync_and_an_edit_show_what_changed(folder, tmp_path):
    """Each kind of change with its number; what was not edited, with the reason."""
    config = offline_config(tmp_path / "index")
    draw_dataset(tmp_path / "images", count=4)
    build_index_from_directory(tmp_path / "images", tmp_path / "index", config=config)
    (tmp_path / "images/stripes/0.png").unlink(missing_ok=True)
    removed = sorted((tmp_path / "images/gingham").iterdir())[0]
    removed.unlink()
    report = sync_index(tmp_path / "index", config=config)
    page = assert_harmless_fragment(report._repr_html_())
    assert dict(zip(page.texts["dt"], page.texts["dd"]))["removed"] == str(len(report.changes.removed)) != "0"
    editor = IndexEditor(tmp_path / "index", config)
    edit = editor.relabel([*editor.examples_of("stripes")[:2], "nothing/such.png"], "gingham")
    page = assert_harmless_fragment(edit._repr_html_())
    assert dict(zip(page.texts["dt"], page.texts["dd"])) == {
        "images": str(edit.images), "relabeled": "2", "unchanged": str(edit.changes.unchanged),
    }  # fmt: skip
    assert page.texts["h3"] == [f"Edit {edit.edit}"]
    assert "nothing/such.png" in page.text
    same = editor.relabel(editor.examples_of("gingham")[:1], "gingham")
    assert assert_harmless_fragment(same._repr_html_()).texts["h3"] == ["No change"]


def test_a_calibration_shows_its_figures(folder, config):
    """Accuracy, threshold of familiarity, notes and charts."""
    report = calibrate_index(folder / "index", config)
    page = assert_harmless_fragment(report._repr_html_())
    figures = dict(zip(page.texts["dt"], page.texts["dd"]))
    assert figures["accuracy"] == f"{100 * report.accuracy:.1f}%"
    threshold = report.calibration.familiarity_threshold(0.9)
    assert figures["familiarity threshold, accepts 90%"] == f"{threshold:.2f}"
    assert len(page.all("figure")) == (2 if report.tradeoff else 1)
    assert all(note in page.text for note in report.notes)


@pytest.mark.long
def test_a_guarantee_is_shown(tmp_path):
    """The threshold with what it stands for."""
    draw_dataset(tmp_path / "images", count=20)
    config = offline_config(tmp_path / "index")
    build_index_from_directory(tmp_path / "images", tmp_path / "index", config=config)
    report = calibrate_index(tmp_path / "index", config, CalibrationRequest(target_precision=0.8))
    page = assert_harmless_fragment(report._repr_html_())
    figures = dict(zip(page.texts["dt"], page.texts["dd"]))
    assert figures["confidence threshold"] == f"{report.guarantee.threshold:.4f}"
    assert figures["wrong among accepted answers, with probability 0.9"] == "at most 20%"


def test_an_evaluation_shows_its_figures(folder, classifier):
    """Those of `to_dict`; labels with recall, confusions, and a chart."""
    evaluation = evaluate_folder(folder / "test", classifier)
    page = assert_harmless_fragment(evaluation._repr_html_())
    fraction = evaluation.to_dict()["accuracy"]["fraction"]
    assert page.texts["dd"][0].startswith(f"{100 * fraction:.1f}% (")
    assert len(page.all("figure")) == 1
    assert {str(entry.truth) for entry in evaluation.known} <= set(page.texts["th"])
    assert evaluation.to_dict()["unknown"]["tradeoff"] == []


def test_an_audit_shows_its_findings(folder, config):
    """Figures first, then the worst of each kind."""
    audit = audit_index(folder / "index", config)
    page = assert_harmless_fragment(audit._repr_html_())
    assert page.texts["dt"] == [name for name, _ in audit.figures]
    assert page.texts["dd"] == [value for _, value in audit.figures]
    listed = [issue.path for issue in audit.label_issues][:10]
    assert all(path in page.texts["th"] for path in listed)


def test_results_are_shown_by_the_classifier(folder, classifier):
    """With their images and the nearest examples of the index; an array has no file."""
    paths = sorted((folder / "test").rglob("*.png"))[:2]
    shown = classifier.show(classifier.classify_paths(paths))
    page = assert_harmless_fragment(shown._repr_html_())
    assert len(page.all("article")) == 2
    assert len(page.all("img", class_="thumb")) == 10
    result = classifier.classify(np.zeros((40, 40, 3), np.uint8))
    assert isinstance(result, Classification)
    page = assert_harmless_fragment(classifier.show(result).html)
    assert "given as an array" in page.text
    with HybridClassifier(offline_config(folder / "index")) as closed:
        pass
    with pytest.raises(ClosedError):
        closed.show(result)


def copied(index):
    """Copy an index, because one that was just synced has nothing to report."""
    copy = Path(tempfile.mkdtemp(dir=index.parent)) / "index"
    shutil.copytree(index, copy)
    return copy


RUNS = {
    "build": lambda root, config, **options: build_index_from_directory(
        root / "images", config.retrieval.index_path.with_suffix(".npz"), config=config, **options
    ),
    "sync": lambda root, config, **options: sync_index(copied(root / "index"), config=config, **options),
    "add": lambda root, config, **options: IndexEditor(root / "index", config).add(
        [next((root / "images/gingham").glob("*.png"))], "gingham", **options
    ),
    "calibrate": lambda root, config, **options: calibrate_index(root / "index", config, **options),
    "audit": lambda root, config, **options: audit_index(root / "index", config, **options),
    "evaluate": lambda root, config, **options: evaluate_folder(root / "test", HybridClassifier(config), **options),
    "classify": lambda root, config, **options: list(
        HybridClassifier(config).classify_paths(sorted((root / "test").rglob("*.png")), **options)
    ),
    "check": lambda root, config, **options: check_index(root / "index", **options),
    "measure": lambda root, config, **options: measure_reranker(root / "index", config, 20, **options),
}
DEAR = {"measure", "audit", "evaluate"}
SILENT = {"add"}  # the image is in the index already, so there is nothing to report


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in DEAR else name for name in RUNS]
)
def test_every_long_run_shows_its_progress(folder, config, name, capsys):
    """True shows it, here as lines; a function gets the states; anything else is an error before the work."""
    run = RUNS[name]
    states = []
    run(folder, config, progress=states.append)
    assert bool(states) == (name not in SILENT)
    capsys.readouterr()
    run(folder, config, progress=True)
    printed = capsys.readouterr()
    stages = {line.split(" ")[0] for line in printed.err.splitlines()}
    assert {state.stage.split(" ")[0] for state in states if state.done == state.total} <= stages
    assert printed.out == ""
    with pytest.raises(ConfigError, match="Expected True to show it"):
        run(folder, config, progress="yes")


def test_results_are_counted_as_they_are_taken(folder, classifier):
    """The total is known where the paths have a length; a run that is closed early ends its display."""
    paths = sorted((folder / "test").rglob("*.png"))
    states = []
    results = classifier.classify_paths(iter(paths), progress=states.append)
    next(results)
    assert [(state.done, state.total) for state in states] == [(1, None)]
    results.close()
    assert list(results) == []
    states.clear()
    list(classifier.classify_paths([*paths[:2], folder / "images/stripes/<b>.png"], progress=states.append))
    assert [(state.done, state.total, state.skipped) for state in states] == [(1, 3, 0), (2, 3, 0), (3, 3, 1)]
