"""Figures of an evaluation: counted by hand, and on drawn images."""

import json
import shutil

import numpy as np
import pytest

from lmm_classifier import Cancelled, HybridClassifier, build_index_from_directory
from lmm_classifier.core.datatypes import Candidate, Classification, Decision
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.evaluation.evaluate import evaluate_folder
from lmm_classifier.evaluation.results import Evaluation, LabeledResult
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset, offline_config


def entry(truth, answer, score=0.9, familiarity=0.0, reason="confident", others=()):
    """One result; `others` are candidates with scores of retrieval, before the reranker ordered them."""
    candidates = (Candidate(answer, score, ()), *(Candidate(label, other, ()) for label, other in others))
    action = "reject" if reason in ("novel", "unreadable") else "accept"
    label = "unknown" if action == "reject" else answer
    result = Classification(
        label, score, reason == "reranked", Decision(action, reason), candidates, 0.5, familiarity, error="no image"
    )
    return LabeledResult(f"{truth}.jpg", result, truth)


ENTRIES = [
    entry("a", "a", 0.9, 0.5),
    entry("a", "b", 0.6, 0.1),
    entry("b", "b", 0.8, -3.0, "novel"),
    entry("b", "b", 0.3, 0.2, "reranked", [("a", 0.5)]),
    entry("unknown", "a", 0.7, -2.0, "novel"),
    entry("moon", "b", 0.4, 0.3),
    entry("b", "b", reason="unreadable"),
]


def test_figures_counted_by_hand():
    """A rejected known image is an error. A truth that is no label is an unknown image. A bad file is neither."""
    evaluation = Evaluation.of(ENTRIES, {"a", "b"})
    figures = evaluation.to_dict(lambda keep: {0.95: -3.5, 0.9: -1.0, 0.8: 0.15}[keep])
    assert figures["images"] == {"known": 4, "unknowns": 2, "unreadable": 1}
    assert (figures["accuracy"]["count"], figures["accuracy"]["of"]) == (2, 4)
    assert figures["accuracy_if_a_label_is_forced"]["count"] == 3
    assert figures["known_called_unknown"]["count"] == 1
    assert (figures["precision_of_answers"]["count"], figures["precision_of_answers"]["of"]) == (2, 3)
    assert figures["confusions"] == [{"truth": "a", "answer": "b", "count": 1}]
    assert [(row["label"], row["count"], row["most_often_instead"]) for row in figures["classes"]] == [
        ("a", 1, "b"),
        ("b", 1, "unknown"),
    ]
    unknown = figures["unknown"]
    assert unknown["caught"]["fraction"] == 0.5
    assert unknown["auroc"] == pytest.approx(4 / 8)  # of eight pairs: .5 beats both, .1 and .2 beat one, -3 none
    assert unknown["fpr_at_95_tpr"] == 1.0
    assert [(row["known_accepted"], row["unknowns_accepted"]) for row in unknown["tradeoff"]] == [
        (1.0, 1.0),
        (0.75, 0.5),
        (0.5, 0.5),
    ]
    reranking = figures["reranking"]
    assert (reranking["asked"], reranking["corrected"], reranking["newly_wrong"]) == (1, 1, 0)
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("entries", [ENTRIES[:4], ENTRIES[4:6], ENTRIES[6:], []])
def test_every_part_alone_has_figures(entries):
    """Only known, only unknown, only unreadable, and no images: all figures are JSON without NaN."""
    figures = Evaluation.of(entries, {"a", "b"}).to_dict(lambda keep: 0.0)
    json.dumps(figures, allow_nan=False)
    assert figures["unknown"] is None


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
    return HybridClassifier(offline_config(place / "index.npz"))


def test_a_folder_that_is_no_label_holds_unknown_images(place, classifier):
    """Progress counts every image; the stored arrays are as long as the lists."""
    steps = []
    evaluation = evaluate_folder(str(place / "new"), classifier, progress=steps.append)
    assert (len(evaluation.known), len(evaluation.unknowns), len(evaluation.unreadable)) == (16, 4, 0)
    assert [step.done for step in steps] == list(range(1, 21))
    assert {step.total for step in steps} == {20}
    assert len(evaluation.correct) == len(evaluation.accepted) == len(evaluation.confidence) == 16
    assert len(evaluation.unknown_familiarity) == 4
    assert evaluation.correct.mean() > 0.5


def test_a_callback_can_cancel(place, classifier):
    """An error in the callback reaches the caller, and the classifier works afterwards."""

    def stop(progress):
        if progress.done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        evaluate_folder(place / "new", classifier, progress=stop)
    assert len(evaluate_folder(place / "new", classifier).known) == 16


def test_images_of_the_index_are_evaluated_by_the_others(place, classifier):
    """With identical examples left out, accuracy is that of leave-one-out; without, an image finds itself."""
    itself = evaluate_folder(place / "dataset", classifier)
    others = evaluate_folder(place / "dataset", classifier, leave_out_identical=True)
    assert itself.correct.all()
    assert others.confidence.mean() < itself.confidence.mean()


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
    assert figures["images"] == {"known": 16, "unknowns": 4, "unreadable": 0}
    accuracy = f"{100 * figures['accuracy']['fraction']:.1f}%"
    assert accuracy in done.stdout
    assert accuracy in (tmp_path / "e.html").read_text(encoding="utf-8")
    assert np.isfinite(figures["unknown"]["auroc"])


def test_unreadable_files_are_counted(place, tmp_path):
    """A file that is no image changes the exit code, and nothing else."""
    shutil.copytree(place / "new", tmp_path / "new")
    (tmp_path / "new" / "stripes" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    done = run("evaluate", tmp_path / "new", "--index", place / "index.npz", "--config", OFFLINE, code=3)
    assert "unreadable files" in done.stdout
