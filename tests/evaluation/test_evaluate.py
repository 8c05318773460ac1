"""A labeled folder is evaluated, without the images of which the index holds copies."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmarks.near_copies import KINDS, copy_of
from lmm_classifier import Cancelled, HybridClassifier, PipelineConfig, build_index_from_directory, calibrate_index
from lmm_classifier.core.errors import CalibrationError, DatasetError
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.evaluation.evaluate import evaluate_folder
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.tiny_onnx import write_tiny_onnx


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an index, and with new images of known labels and of one unknown pattern."""
    root = tmp_path_factory.mktemp("evaluate")
    draw_dataset(root / "dataset", count=8)
    draw_dataset(root / "new", count=4, seed=1)
    draw_dataset(root / "drawn", ["camouflage"], count=4, seed=1)
    shutil.move(root / "drawn" / "camouflage", root / "new" / "unknown")
    build_index_from_directory(root / "dataset", root / "index.npz", 16, offline_config(root / "index.npz"))
    return root


@pytest.fixture(scope="module")
def classifier(place):
    return HybridClassifier(offline_config(place / "index.npz", rerank__enabled=False))


@pytest.mark.long
def test_a_folder_that_is_no_label_holds_unknown_images(place, classifier):
    """Progress counts every image; the stored arrays are as long as the lists."""
    steps = []
    evaluation = evaluate_folder(str(place / "new"), classifier, progress=steps.append)
    assert (len(evaluation.known), len(evaluation.unknowns), len(evaluation.unreadable)) == (16, 4, 0)
    assert [(step.done, step.total) for step in steps if step.stage == "evaluating"] == [
        (number, 20) for number in range(1, 21)
    ]
    assert len(evaluation.correct) == len(evaluation.accepted) == len(evaluation.confidence) == 16
    assert len(evaluation.unknown_familiarity) == 4
    assert evaluation.familiarity_threshold == classifier.thresholds.novelty.value
    assert evaluation.correct.mean() > 0.5


def test_what_is_not_evaluated_is_reported(place, classifier, tmp_path):
    """Skipped files with their reasons, and a folder whose name only looks like a label."""
    shutil.copytree(place / "new/stripes", tmp_path / "Stripes")
    shutil.copytree(place / "new/gingham", tmp_path / "gingham")
    (tmp_path / "gingham/x.jp2").touch()
    evaluation = evaluate_folder(tmp_path, classifier)
    assert (len(evaluation.known), len(evaluation.unknowns)) == (4, 4)
    (warning,) = evaluation.warnings
    assert "'Stripes' is not a label of the index. It has 'stripes'" in warning
    figures = evaluation.to_dict(classifier.retriever.calibration.familiarity_threshold)
    assert [file["path"] for file in figures["skipped"]] == ["gingham/x.jp2"]
    done = run("evaluate", tmp_path, "--index", place / "index.npz", "--config", OFFLINE, code=3)
    assert "1 file skipped: 1 unsupported" in done.stderr
    assert "warning: " in done.stderr


@pytest.mark.long
def test_images_that_are_several_times_in_the_folder_are_reported(place, classifier, tmp_path):
    """They are no larger sample, although the intervals take them for one."""
    folder = shutil.copytree(place / "new", tmp_path / "new")
    assert evaluate_folder(folder, classifier).warnings == ()
    shutil.copy(folder / "stripes/00.png", folder / "stripes/again.png")
    (warning,) = evaluate_folder(folder, classifier).warnings
    assert "1 images are identical to others in it" in warning


@pytest.mark.long
def test_a_callback_can_cancel(place, classifier):
    """An error in the callback reaches the caller, and the classifier works afterwards."""

    def stop(progress):
        if progress.done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        evaluate_folder(place / "new", classifier, progress=stop)
    assert len(evaluate_folder(place / "new", classifier).known) == 16


def test_images_of_the_index_are_evaluated_by_the_others(place, classifier):
    """With identical examples left out they count; without, an image would find itself, so nothing remains."""
    others = evaluate_folder(place / "dataset", classifier, leave_out_identical=True)
    assert len(others.known) == 32
    assert others.identical == []
    with pytest.raises(DatasetError, match=r"the index holds all 32 images \(32\)"):
        evaluate_folder(place / "dataset", classifier)


@pytest.fixture(scope="module")
def with_copies(place, tmp_path_factory):
    """New images, two images of the index, and one of each kind of copy."""
    folder = tmp_path_factory.mktemp("copies") / "new"
    shutil.copytree(place / "new", folder)
    shutil.copy(place / "dataset" / "stripes" / "00.png", folder / "stripes" / "same.png")
    shutil.copy(place / "dataset" / "stripes" / "01.png", folder / "unknown" / "same.png")
    for number, kind in enumerate(KINDS):
        with Image.open(place / "dataset" / "polka_dots" / f"{number + 2:02}.png") as image:
            copy, quality = copy_of(image.convert("RGB"), kind)
        copy.save(folder / "polka_dots" / f"{kind}.jpg", quality=quality)
    return folder


@pytest.mark.long
def test_no_figure_stands_on_copies_of_images_of_the_index(place, classifier, with_copies):
    """Same bytes and near copies are counted; the figures are those without them, whatever folder they lie in."""
    evaluation = evaluate_folder(with_copies, classifier)
    assert sorted(entry.image.name for entry in evaluation.identical) == ["same.png", "same.png"]
    assert sorted(entry.image.stem for entry in evaluation.near_copies) == sorted(KINDS)
    honest = evaluate_folder(place / "new", classifier)
    assert evaluation.to_dict(lambda keep: 0.0)["accuracy"] == honest.to_dict(lambda keep: 0.0)["accuracy"]
    assert len(evaluation.unknowns) == len(honest.unknowns)


@pytest.mark.long
def test_near_copies_are_left_out_of_leave_one_out_too(classifier, with_copies):
    """The example with the same bytes is ignored, but that of a near copy is not."""
    evaluation = evaluate_folder(with_copies, classifier, leave_out_identical=True)
    assert evaluation.identical == []
    assert sorted(entry.image.stem for entry in evaluation.near_copies) == sorted(KINDS)
    assert len(evaluation.known) + len(evaluation.unknowns) == 22


@pytest.mark.long
def test_copies_are_found_without_the_images_of_the_index(place, with_copies, tmp_path):
    """The vectors alone decide where the dataset is gone: saved again is found, a new image is not."""
    shutil.copytree(place / "dataset", tmp_path / "dataset")
    build_index_from_directory(tmp_path / "dataset", tmp_path / "i.npz", 16, offline_config(tmp_path / "i.npz"))
    shutil.rmtree(tmp_path / "dataset")
    evaluation = evaluate_folder(with_copies, HybridClassifier(offline_config(tmp_path / "i.npz")))
    assert len(evaluation.identical) == 2
    found = {entry.image.stem for entry in evaluation.near_copies}
    assert found <= set(KINDS)


def test_what_was_left_out_is_reported_everywhere(place, with_copies, tmp_path):
    """On the terminal, in JSON and on the page."""
    done = run(
        "evaluate", with_copies, "--index", place / "index.npz", "--config", OFFLINE,
        "--json", tmp_path / "e.json", "--html", tmp_path / "e.html",
    )  # fmt: skip
    images = json.loads((tmp_path / "e.json").read_text())["images"]
    assert (images["left_out_identical"], images["left_out_near_copies"]) == (2, 4)
    words = "6 (2 identical, 4 near copies)"
    assert words in done.stdout
    assert words in (tmp_path / "e.html").read_text(encoding="utf-8")


def test_a_folder_without_images_is_refused(tmp_path, classifier):
    """The error says what was expected."""
    with pytest.raises(DatasetError, match="expected"):
        evaluate_folder(tmp_path, classifier)


def test_evaluate_from_the_command_line(place, tmp_path):
    """The terminal, the JSON and the page show the same numbers."""
    done = run(
        "evaluate", place / "new", "--index", place / "index.npz", "--config", OFFLINE,
        "--json", tmp_path / "e.json", "--html", tmp_path / "e.html",
    )  # fmt: skip
    figures = json.loads((tmp_path / "e.json").read_text())
    assert (figures["images"]["known"], figures["images"]["unknowns"]) == (16, 4)
    accuracy = f"{100 * figures['accuracy']['fraction']:.1f}%"
    assert accuracy in done.stdout
    assert accuracy in (tmp_path / "e.html").read_text(encoding="utf-8")
    assert np.isfinite(figures["unknown"]["auroc"])


@pytest.mark.long
def test_unreadable_files_are_counted(place, tmp_path):
    """A file that is no image changes the exit code, and nothing else."""
    shutil.copytree(place / "new", tmp_path / "new")
    (tmp_path / "new" / "stripes" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    done = run("evaluate", tmp_path / "new", "--index", place / "index.npz", "--config", OFFLINE, code=3)
    assert "unreadable files" in done.stdout


@pytest.mark.long
def test_groups_of_a_folder_of_a_column_and_of_names(place, classifier, tmp_path):
    """The three forms of `calibrate --group-by` give the same groups, of images that are not left out."""
    new = [*sorted((place / "new").glob("*/*.*")), next((place / "dataset" / "stripes").glob("*.*"))]
    rows = ["path,label,object"]
    for number, file in enumerate(new):
        path = f"files/{file.parent.name}/object-{number // 2}/{number}{file.suffix}"
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / path)
        rows.append(f"{path},{file.parent.name},{number // 2}")
    (tmp_path / "rows.csv").write_text("\n".join(rows), encoding="utf-8")
    column = DatasetSpec(str(tmp_path / "rows.csv"), group_from="object")
    found = [
        evaluate_folder(source, classifier, group_by=group_by).to_dict(lambda keep: 0.0)
        for source, group_by in [
            (tmp_path / "files", "folder"),
            (column, "column"),
            (tmp_path / "files", r"object-(\d+)"),
        ]
    ]
    assert found[0]["images"]["left_out_identical"] == 1
    assert found[0]["groups"] == {"known": 8, "unknowns": 2, "largest": 2}
    for figures in found[1:]:
        assert figures["groups"] == found[0]["groups"]
        assert figures["accuracy"] == found[0]["accuracy"]
    with pytest.raises(DatasetError, match=r"names no groups. Say in which column or level"):
        evaluate_folder(tmp_path / "files", classifier, group_by="column")
    with pytest.raises(CalibrationError, match="are not valid"):
        evaluate_folder(tmp_path / "files", classifier, group_by="(")


@pytest.mark.long
def test_the_command_reports_groups(place):
    """`--group-by` names them, `--group-from` alone asks for the column, and vectors have neither."""
    common = ["--index", "index.npz", "--config", OFFLINE]
    done = run("evaluate", "new", "--group-by", "folder", *common, cwd=place)
    assert "groups, which the intervals are by 4 of known images, 1 of unknown ones; at most 4 images" in done.stdout
    levels = run("evaluate", "new", "--group-from", "1", *common, cwd=place)
    assert "4 of known images, 1 of unknown ones" in levels.stdout
    refused = run("evaluate", "--vectors", "x.npy", "--group-by", "folder", *common, cwd=place, code=2)
    assert "--vectors has none" in refused.stderr


def test_examples_that_stay_in_a_store(tmp_path):
    """Identical and saved-again images of the dataset do not count; the others have evidence of their label."""
    pytest.importorskip("onnxruntime", reason="needs lmm-classifier[onnx]")
    pytest.importorskip("onnx", reason="writes a model of its own")
    config = PipelineConfig()
    config.encoder.backend, config.encoder.model = "onnx", str(write_tiny_onnx(tmp_path))
    config.rerank.enabled = False
    config.retrieval.index_path, config.retrieval.search = tmp_path / "index", "store"
    dataset, new = draw_dataset(tmp_path / "dataset", count=8), draw_dataset(tmp_path / "new", count=3, seed=9)
    build_index_from_directory(dataset, tmp_path / "index", 8, config)
    calibrate_index(tmp_path / "index", config)
    label = sorted(path.name for path in dataset.iterdir())[0]
    copied = sorted((dataset / label).iterdir())
    shutil.copy(copied[0], new / label / "copy.png")
    Image.open(copied[1]).convert("RGB").save(new / label / "saved again.jpg", quality=92)
    with HybridClassifier(config) as classifier:
        evaluation = evaluate_folder(new, classifier)
        result = classifier.classify(new / label / "00.png")
    assert result.candidates[0].neighbors
    assert all(n.example.label == c.label for c in result.candidates for n in c.neighbors)
    assert len(evaluation.known) == 12
    assert [entry.image.name for entry in evaluation.identical] == ["copy.png"]
    assert [entry.image.name for entry in evaluation.near_copies] == ["saved again.jpg"]
