"""The command line from nested folders, a file or a proposal to coarse answers, their figures and their columns."""

import csv
import io
import json

import numpy as np
import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.label_hierarchy import LabelHierarchy, read_hierarchy
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.calibrator import calibrate_index
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.vector_indexes import nested_embeddings, write_nested

TWINS = {"polka_dots": "dots", "stripes": "lines"}  # two labels of each pattern, which nobody can tell apart
ALONE = ("gingham", "herringbone")


def nested(folder, count, seed):
    draw_dataset(folder / "nested", ALONE, count=count, seed=seed, size=32)
    draw_dataset(folder / "twins", list(TWINS), count=count, seed=seed, size=32)
    for pattern, above in TWINS.items():
        for number, file in enumerate(sorted((folder / "twins" / pattern).iterdir())):
            target = folder / "nested" / above / f"{'ab'[number % 2]}_{above}"
            target.mkdir(parents=True, exist_ok=True)
            file.rename(target / file.name)
    return folder / "nested"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An index of nested folders of images, and new images in such folders."""
    root = tmp_path_factory.mktemp("hierarchy")
    train = nested(root / "train", 24, 0)
    nested(root / "new", 6, 5)
    spec, config = DatasetSpec(str(train), label_from="path"), offline_config(root / "index")
    build_index_from_directory(spec, root / "index", config=config)
    return root


def options(place):
    return ["--config", OFFLINE, "--set", f"retrieval.index_path={place / 'index'}", "--set", "rerank.enabled=false"]


def test_from_nested_folders_to_coarse_answers(place, tmp_path):
    """`calibrate` says what each level answers; results carry level and path; `evaluate` counts each level."""
    common = options(place)
    shown = run("hierarchy", place / "index").stdout
    assert (
        shown
        == LabelHierarchy(
            {f"{x}_{above}": (above,) for above in TWINS.values() for x in "ab"} | dict.fromkeys(ALONE, ())
        ).to_yaml()
    )
    done = run("calibrate", "--target-precision", 0.9, "--confidence-level", 0.6, *common)
    assert "coarse_threshold_1: " in done.stdout
    assert "answered at some level: " in done.stdout
    lines = run("classify", place / "new" / "nested", "--format", "jsonl", *common).stdout.splitlines()
    results = [json.loads(line) for line in lines]
    assert {result["level"] for result in results} >= {0, 1}
    for result in results:
        way = result["label_path"]
        assert way[-1:] == ([] if result["is_unknown"] else [result["label"]])
        assert (result["level"] == 1) == (result["reason"] == "rolled_up")
    text = run("classify", place / "new" / "nested", "--format", "csv", *common).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["label_path"].split(" / ") for row in rows] == [result["label_path"] or [""] for result in results]
    assert [row["level"] for row in rows] == [
        "" if result["level"] is None else str(result["level"]) for result in results
    ]
    assert "coarse_threshold_1" in run("info", *common).stdout
    report = ["--json", tmp_path / "e.json", "--html", tmp_path / "e.html"]
    done = run("evaluate", place / "new" / "nested", "--label-from", "path", *report, *common)
    assert "answered at level 1" in done.stdout
    figures = json.loads((tmp_path / "e.json").read_text())
    answered = sum(result["reason"] == "rolled_up" for result in results)
    assert figures["hierarchy"]["levels"][1]["answered"]["count"] == answered
    page = (tmp_path / "e.html").read_text()
    assert "Levels of the hierarchy" in page


def test_a_run_is_resumed_with_its_columns(place, tmp_path):
    """A CSV file with levels is continued; one without is another run."""
    common = [*options(place), "--format", "csv"]
    first = run("classify", place / "new/nested/dots", "--output", tmp_path / "r.csv", *common)
    assert not first.error or first.error.code == 0
    run("classify", place / "new/nested", "--output", tmp_path / "r.csv", "--resume", *common)
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert len(rows) == 24
    assert all(len(row) == 15 for row in rows)
    (tmp_path / "r.csv").write_text("path,label\n")
    refused = run("classify", place / "new/nested", "--output", tmp_path / "r.csv", "--resume", *common, code=1)
    assert "'label_path'" in refused.stderr


def test_given_vectors_have_the_same_columns(tmp_path):
    """A CSV file of them has levels too."""
    index = write_nested(tmp_path / "index", dataset="dataset#label_from=path", count=25)
    config = PipelineConfig.preset("vectors")
    config.retrieval.index_path = index
    calibrate_index(index, config, CalibrationRequest(0.9))
    np.save(tmp_path / "new.npy", nested_embeddings(part=1, count=20)[0])
    chosen = ["--index", index, "--output", tmp_path / "r.csv", "--set", "rerank.enabled=false"]
    run("classify", "--vectors", tmp_path / "new.npy", *chosen)
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert {row["level"] for row in rows} >= {"0", "1"}
    assert all(row["label_path"].endswith(row["label"]) for row in rows if row["is_unknown"] == "false")
    assert {row["label_path"] for row in rows} >= {"tops", "hat"}


def test_folders_of_one_name_are_refused(tmp_path):
    """The error names both places, and what to do."""
    for folder in ("a", "b"):
        draw_dataset(tmp_path / folder, ["stripes"], count=1, size=24)
    refused = run("build", tmp_path, "--label-from", "path", "--output", tmp_path / "i", "--config", OFFLINE, code=1)
    assert "the labels 'stripes' stand in it twice" in refused.stderr
    assert "label_from: parent" in refused.stderr


def test_a_proposal_is_written_and_read(tmp_path):
    """It counts when it is set; an existing file is kept."""
    index, output = write_nested(tmp_path / "index.npz"), tmp_path / "tree.yaml"
    shown = run("hierarchy", index, "--propose", 3, "--propose", 4, "--output", output)
    assert read_hierarchy(output).to_yaml() == shown.stdout
    assert {"like blouse, shirt", "like shorts, skirt"} & read_hierarchy(output).coarse_labels
    assert "lmm-classifier calibrate" in shown.stderr
    assert "exists already" in run("hierarchy", index, "--propose", 3, "--output", output, code=1).stderr
    run("hierarchy", index, "--propose", 3, "--output", output, "--overwrite")
    assert run("hierarchy", index, "--set", f"hierarchy={output}").stdout == output.read_text()
    assert "from 2 to 4" in run("hierarchy", index, "--propose", 5, code=1).stderr


def test_what_a_file_and_an_index_do_not_share_is_said(tmp_path):
    """As notes; without a hierarchy it says how to have one."""
    index = write_nested(tmp_path / "index.npz")
    assert "There is no hierarchy" in run("hierarchy", index).stdout
    (tmp_path / "t.yaml").write_text(LabelHierarchy({"shirt": ("tops",), "lamp": ()}).to_yaml())
    notes = run("hierarchy", index, "--set", f"hierarchy={tmp_path / 't.yaml'}").stderr
    assert "no examples have the labels 'lamp'" in notes
    assert "'blouse', 'hat', 'shorts', 'skirt' are not in it" in notes
