"""Every public function takes paths that begin with `~`, as people write them in a notebook."""

import logging

import pytest

from lmm_classifier import (
    CalibrationRequest,
    HybridClassifier,
    IndexEditor,
    LabeledResult,
    audit_index,
    build_index_from_directory,
    calibrate_index,
    check_index,
    configure_logging,
    describe_index,
    evaluate_folder,
    sync_index,
    write_audit_page,
    write_contact_sheet,
    write_evaluation_page,
)
from lmm_classifier.index.build.corrections import apply_corrections, read_corrections
from tests.helpers.datasets import draw_dataset, offline_config


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with a dataset and new images, seen from another current folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    draw_dataset(tmp_path / "home/images", count=3, size=32)
    draw_dataset(tmp_path / "home/new", count=1, size=48, seed=1)
    return tmp_path / "home"


@pytest.mark.long
def test_paths_may_begin_with_the_home_folder(home, tmp_path):
    """Nothing is written into a folder that is called `~`, and nothing is searched there."""
    config = offline_config("~/index")
    assert build_index_from_directory("~/images", "~/index", config=config).total == 12
    assert not sync_index("~/index", "~/images", config).changes.any
    assert describe_index("~/index")["images"] == 12
    assert not [finding for finding in check_index("~/index") if finding.severity == "damage"]
    calibrate_index("~/index", config)
    assert CalibrationRequest(target_images="~/new").target_images.fixed().source == str(home / "new")
    audit = audit_index("~/index", config, near_duplicate=1.0)
    write_audit_page("~/audit.html", audit, "~/index")
    with HybridClassifier(config) as classifier:
        evaluation = evaluate_folder("~/new", classifier)
        write_evaluation_page("~/evaluation.html", evaluation, classifier)
        file = sorted(home.glob("new/*/*.png"))[0]
        entry = LabeledResult(file, classifier.classify(f"~/{file.relative_to(home)}"))
        write_contact_sheet("~/sheet.html", "New", [], [entry], "~/images")
    added = IndexEditor("~/index", config).add([f"~/{file.relative_to(home)}"], file.parent.name)
    assert len(added.changes.added) == 1
    example = sorted(home.glob("images/*/*.png"))[0].relative_to(home)
    assert len(IndexEditor("~/index", config).remove([f"~/{example}"]).changes.removed) == 1
    (home / "edits.csv").write_text(f"path,action,label\n{added.changes.added[0]},remove,\n", encoding="utf-8")
    apply_corrections("~/index", read_corrections("~/edits.csv"))
    configure_logging(file="~/run.log")
    logging.getLogger("lmm_classifier").info("done")
    configure_logging()
    assert {"audit.html", "evaluation.html", "sheet.html", "run.log"} <= {path.name for path in home.iterdir()}
    assert list((tmp_path / "elsewhere").iterdir()) == []
