"""The study of verdicts: counted by hand, and end to end as a user types it."""

import json
import shutil

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision
from lmm_classifier.evaluation.results import Entry, Evaluation
from tests.cli.test_app import OFFLINE, run
from tests.helpers.corpora import draw_corpus


def entry(truth, answer, score=0.9, familiarity=0.0, reason="confident", others=()):
    """One verdict; `others` are candidates with retrieval scores, before the reranker ordered them."""
    candidates = (Candidate(answer, score, ()), *(Candidate(label, share, ()) for label, share in others))
    action = "reject" if reason in ("novel", "unreadable") else "accept"
    label = "unknown" if action == "reject" else answer
    result = Classification(
        label, score, reason == "reranked", Decision(action, reason), candidates, 0.5, familiarity, error="no picture"
    )
    return Entry(f"{truth}.jpg", result, truth)


ENTRIES = [
    entry("a", "a", 0.9, 0.5),
    entry("a", "b", 0.6, 0.1),
    entry("b", "b", 0.8, -3.0, "novel"),
    entry("b", "b", 0.3, 0.2, "reranked", [("a", 0.5)]),
    entry("unknown", "a", 0.7, -2.0, "novel"),
    entry("moon", "b", 0.4, 0.3),
    entry("b", "b", reason="unreadable"),
]


def test_counted_by_hand():
    """Accuracy counts a refusal as wrong; what is no label is a stranger; a bad file is neither."""
    found = Evaluation.of(ENTRIES, {"a", "b"})
    figures = found.to_dict(lambda keep: {0.95: -3.5, 0.9: -1.0, 0.8: 0.15}[keep])
    assert figures["pictures"] == {"known": 4, "strangers": 2, "unreadable": 1}
    assert (figures["accuracy"]["count"], figures["accuracy"]["of"]) == (2, 4)
    assert figures["accuracy_if_a_label_is_forced"]["count"] == 3
    assert figures["known_called_unknown"]["count"] == 1
    assert (figures["precision_of_answers"]["count"], figures["precision_of_answers"]["of"]) == (2, 3)
    assert figures["confusions"] == [{"truth": "a", "answer": "b", "count": 1}]
    assert [(one["label"], one["count"], one["most_often_instead"]) for one in figures["classes"]] == [
        ("a", 1, "b"),
        ("b", 1, "unknown"),
    ]
    unknown = figures["unknown"]
    assert unknown["caught"]["share"] == 0.5
    assert unknown["auroc"] == pytest.approx(4 / 8)  # of eight pairs: .5 beats both, .1 and .2 beat one, -3 none
    assert [(one["known_kept"], one["strangers_let_through"]) for one in unknown["trade"]] == [
        (1.0, 1.0),
        (0.75, 0.5),
        (0.5, 0.5),
    ]
    again = figures["second_look"]
    assert (again["asked"], again["rescued"], again["broken"]) == (1, 1, 0)
    json.dumps(figures, allow_nan=False)


def test_only_strangers_or_only_known():
    """Either half alone has figures, all of them JSON."""
    for part in (ENTRIES[:4], ENTRIES[4:6], ENTRIES[6:]):
        figures = Evaluation.of(part, {"a", "b"}).to_dict(lambda keep: 0.0)
        json.dumps(figures, allow_nan=False)
        assert figures["unknown"] is None


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An index, and a folder of new pictures with strangers and a broken file."""
    root = tmp_path_factory.mktemp("evaluate")
    draw_corpus(root / "corpus", count=8)
    draw_corpus(root / "new", count=4, seed=1)
    draw_corpus(root / "strange", ["camouflage"], count=4, seed=1)
    shutil.move(root / "strange" / "camouflage", root / "new" / "unknown")
    run("build", root / "corpus", "--output", root / "index.npz", "--config", OFFLINE)
    return root


def test_evaluate_from_the_command_line(place, tmp_path):
    """A terminal summary, JSON of the same numbers, and a page with charts and pictures."""
    done = run(
        "evaluate", place / "new", "--index", place / "index.npz", "--config", OFFLINE,
        "--json", tmp_path / "e.json", "--html", tmp_path / "e.html",
    )  # fmt: skip
    figures = json.loads((tmp_path / "e.json").read_text())
    assert figures["pictures"] == {"known": 16, "strangers": 4, "unreadable": 0}
    assert f"{100 * figures['accuracy']['share']:.1f} %" in done.stdout
    assert figures["accuracy"]["share"] > 0.5
    page = (tmp_path / "e.html").read_text()
    assert page.count("<svg") == 3
    assert "data:image/jpeg" in page
    assert "http" not in page.replace("http-equiv", "")


def test_broken_files_are_counted(place, tmp_path):
    """A file that is no picture changes the exit code, not the rest."""
    shutil.copytree(place / "new", tmp_path / "new")
    (tmp_path / "new" / "stripes" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    done = run("evaluate", tmp_path / "new", "--index", place / "index.npz", "--config", OFFLINE, code=3)
    assert "unreadable" in done.stdout


def test_a_folder_without_pictures(place, tmp_path):
    """One clear line that says what was expected."""
    done = run("evaluate", tmp_path, "--index", place / "index.npz", "--config", OFFLINE, code=1)
    assert "holds no labelled picture; expected" in done.stderr


def test_the_corpus_against_itself(place):
    """With its own bytes left out it is a leave-one-out; without, it is a mirror."""
    arguments = ["evaluate", place / "corpus", "--index", place / "index.npz", "--config", OFFLINE]
    mirror = run(*arguments).stdout
    honest = run(*arguments, "--leave-out-identical").stdout
    assert mirror != honest
    assert np.isfinite(float(honest.split("accuracy")[1].split("%")[0]))
