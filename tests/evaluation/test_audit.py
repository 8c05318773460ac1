"""The audit finds planted mistakes, and nothing in a clean dataset."""

import csv
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier import PipelineConfig
from lmm_classifier.calibration import rule_fitting
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.core.errors import CalibrationError, Cancelled, ConfigError, IndexFileError
from lmm_classifier.core.metrics import average_precision
from lmm_classifier.evaluation import audit as audit_module
from lmm_classifier.evaluation import stored_duplicates
from lmm_classifier.evaluation.audit import audit_index, audit_opened_index
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import clustered_embeddings
from tests.evaluation.indexes import index_of
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset
from tests.helpers.vector_indexes import write_encoders

LABELS = ["a"] * 50 + ["b"] * 40 + ["c"] * 30 + ["d"] * 3


@pytest.fixture
def vectors():
    return clustered_embeddings(np.random.default_rng(0), LABELS, 24, spread=0.7)


def test_planted_labels_come_first(tmp_path, vectors):
    """Six flipped labels have the lowest label quality; each suggestion and nearest neighbor has the former label."""
    flipped = {3: "b", 17: "c", 51: "a", 66: "c", 92: "a", 100: "b"}
    labels = [flipped.get(row, label) for row, label in enumerate(LABELS)]
    audit = audit_opened_index([index_of(tmp_path / "i.npz", vectors, labels)], PipelineConfig.offline())
    assert {issue.path for issue in audit.label_issues[:6]} == {f"{label}/{row}.jpg" for row, label in flipped.items()}
    for issue in audit.label_issues[:6]:
        row = int(issue.path.split("/")[1].split(".")[0])
        assert issue.suggested == LABELS[row]
        assert issue.neighbors[0].example.label == LABELS[row]
        assert issue.label_quality == 1 - audit.ranking[row]
    qualities = [issue.label_quality for issue in audit.label_issues]
    assert qualities == sorted(qualities)
    assert all(0 <= quality <= 1 for quality in qualities)
    ranking = np.array([audit.ranking[row] for row in range(len(labels))])
    assert average_precision(ranking, np.array([row in flipped for row in range(len(labels))])) > 0.99


def test_label_quality_is_that_of_the_mean_probabilities(tmp_path, vectors):
    """Of the experts, the neighbors twice: 1 - (2 (1 - p(own)) + p(suggested) - p(own)) / 3."""
    labels = [*LABELS[:3], "b", *LABELS[4:]]
    index, config = index_of(tmp_path / "i.npz", vectors, labels), PipelineConfig.offline()
    audit = audit_opened_index([index], config)
    _, held_out = fit_by_leave_one_out(config.retrieval, [index])
    gaussian, prototype, neighbors = held_out.expert_log_probabilities
    for place in (3, 60, 120):
        row, label = int(held_out.rows[place]), int(held_out.label_ids[place])
        mean = np.exp([logs[place] for logs in (gaussian, prototype, neighbors, neighbors)]).mean(axis=0)
        own, suggested = mean[label], np.delete(mean, label).max()
        assert audit.ranking[row] == pytest.approx((2 * (1 - own) + suggested - own) / 3, abs=1e-12)


def test_a_clean_dataset_has_no_issues(tmp_path, vectors):
    """No label is questioned, but the label with few examples is listed."""
    audit = audit_opened_index([index_of(tmp_path / "i.npz", vectors, LABELS)], PipelineConfig.offline())
    assert audit.label_issues == []
    assert audit.duplicates == []
    assert audit.thin == {"d": 3}
    assert audit.accuracy == 1
    assert audit.interval[0] > 0.95


def test_an_outlier_is_found(tmp_path, vectors):
    """An image that is similar to no other is listed."""
    vectors = vectors.copy()
    away = -vectors[:50].mean(axis=0) - vectors[50:90].mean(axis=0) - vectors[90:].mean(axis=0)
    vectors[5] = away / np.linalg.norm(away)
    audit = audit_opened_index([index_of(tmp_path / "i.npz", vectors, LABELS)], PipelineConfig.offline())
    assert [outlier.path for outlier in audit.outliers] == ["a/5.jpg"]


@pytest.mark.parametrize("labels", [["a"] * 4, ["a", "b", "c"]])
def test_a_dataset_that_is_too_small_is_refused(tmp_path, labels):
    """The error says what an audit needs."""
    vectors = clustered_embeddings(np.random.default_rng(0), labels, 8)
    index_of(tmp_path / "i.npz", vectors, labels)
    with pytest.raises(CalibrationError, match="An audit needs two labels"):
        audit_index(tmp_path / "i.npz")


@pytest.mark.parametrize("near_duplicate", [-0.1, 1.01, math.nan])
def test_an_impossible_similarity_is_refused(tmp_path, near_duplicate):
    """The error names the value and the range, before the index is opened."""
    with pytest.raises(ConfigError, match=r"near_duplicate is .* Expected a cosine similarity of 0 to 1"):
        audit_index(tmp_path / "nothing", near_duplicate=near_duplicate)


def test_a_missing_index_is_an_error(tmp_path):
    """The verb opens the index itself, and says when there is none."""
    with pytest.raises(IndexFileError, match="nothing"):
        audit_index(tmp_path / "nothing")


def test_the_verb_opens_the_index_by_name(tmp_path, vectors):
    """A string and a path are the same; `near_duplicate` reaches the search for duplicates; the values are JSON."""
    index_of(tmp_path / "i.npz", vectors, LABELS)
    audit = audit_index(str(tmp_path / "i.npz"), PipelineConfig.offline(), near_duplicate=0.5)
    assert audit.duplicates
    assert audit_index(tmp_path / "i.npz").duplicates == []
    values = json.loads(json.dumps(audit.to_dict(), allow_nan=False))
    assert "ranking" not in values
    assert values["duplicates"][0]["contradict"] in (True, False)
    assert {"label_issues", "confusable", "outliers", "thin", "interval"} <= set(values)


def test_from_the_command_line(tmp_path):
    """A planted wrong label and a planted duplicate are on the terminal, in JSON, in CSV, and on the page."""
    dataset = draw_dataset(tmp_path / "dataset", count=8)
    shutil.move(dataset / "gingham" / "03.png", dataset / "stripes" / "gingham.png")
    shutil.copy(dataset / "stripes" / "00.png", dataset / "herringbone" / "twice.png")
    run("build", dataset, "--output", tmp_path / "index.npz", "--config", OFFLINE)
    done = run(
        "audit", tmp_path / "index.npz",
        "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv", "--html", tmp_path / "a.html",
    )  # fmt: skip
    assert "stripes/gingham.png: labeled stripes, suggested gingham" in done.stdout
    assert "same bytes under several labels: herringbone/twice.png, stripes/00.png" in done.stdout
    values = json.loads((tmp_path / "a.json").read_text())
    assert "stripes/gingham.png" in [issue["path"] for issue in values["label_issues"]]
    assert all(0 <= issue["label_quality"] <= 1 for issue in values["label_issues"])
    assert {"predicted_as", "fraction"} <= set(values["confusable"][0])
    assert values["duplicates"][0]["contradict"]
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    findings = {row["finding"] for row in rows}
    assert "same bytes" in findings
    assert {"likely wrong label", "label to check"} & findings
    assert "Same image, several labels" in (tmp_path / "a.html").read_text(encoding="utf-8")
    refused = run("audit", tmp_path / "nothing.npz", code=1)
    assert "nothing.npz" in refused.stderr


def assert_stops_at(stages, index, config):
    """`Cancelled` in the callback reaches the caller, whatever the step."""
    for stage in stages:

        def cancel(progress, stage=stage):
            if progress.stage == stage:
                raise Cancelled(stage)

        with pytest.raises(Cancelled, match=stage):
            audit_opened_index([index], config, progress=cancel)


def test_an_audit_can_be_stopped_between_its_batches(tmp_path, vectors):
    """Every step reports how far it is; `Cancelled` in the callback reaches the caller, whatever the step."""
    index, config, seen = index_of(tmp_path / "i.npz", vectors, LABELS), PipelineConfig.offline(), []
    audit_opened_index([index], config, progress=seen.append)
    assert all(0 < progress.done <= progress.total for progress in seen)
    stages = {progress.stage: progress.total for progress in seen}
    assert (stages["scoring held-out examples"], stages["reading pixels"]) == (123, 123)
    assert_stops_at(stages, index, config)


def test_labels_are_told_before_the_duplicates(tmp_path, vectors):
    """What needs no pixels is known before images are read; the audit itself says the same, with the duplicates."""
    vectors, early = np.concatenate([vectors, vectors[:1]]), []
    index = index_of(tmp_path / "i.npz", vectors, [*LABELS, "a"])
    audit = audit_opened_index([index], PipelineConfig.offline(), 0.999, on_labels=early.append)
    (before,) = early
    assert before.duplicates == []
    assert audit.duplicates
    assert replace(before, duplicates=audit.duplicates, searched=124) == audit


@pytest.mark.parametrize("name", ["i.npz", "index"])
def test_dismissed_findings_are_left_out_and_counted(tmp_path, vectors, name):
    """Of each kind, in both formats; accuracy and the ranking stay, and so does what was marked as likely wrong."""
    labels = [{3: "b", 51: "a"}.get(row, label) for row, label in enumerate(LABELS)]
    vectors = np.concatenate([vectors, vectors[:1]])
    index = index_of(tmp_path / name, vectors, [*labels, "a"])
    config = PipelineConfig.offline()
    before = audit_opened_index([index], config, near_duplicate=0.999)
    wrong, copies = before.label_issues[0], before.duplicates[0]
    assert before.dismissed == 0
    index.contents = replace(index.contents, dismissals=[wrong.dismissal, copies.dismissal])
    after = audit_opened_index([index], config, near_duplicate=0.999)
    assert after.label_issues == before.label_issues[1:]
    assert after.duplicates == before.duplicates[1:]
    assert after.dismissed == 2
    assert (after.accuracy, after.ranking) == (before.accuracy, before.ranking)
    assert wrong.content_hash == index.hashes[[e.path for e in index.examples].index(wrong.path)]


def test_a_dismissed_outlier_is_left_out(tmp_path, vectors):
    """The next one does not take its place."""
    vectors = vectors.copy()
    away = -vectors[:50].mean(axis=0) - vectors[50:90].mean(axis=0) - vectors[90:120].mean(axis=0)
    vectors[7] = away / np.linalg.norm(away)
    index = index_of(tmp_path / "i.npz", vectors, LABELS)
    before = audit_opened_index([index], PipelineConfig.offline())
    index.contents = replace(index.contents, dismissals=[before.outliers[0].dismissal])
    after = audit_opened_index([index], PipelineConfig.offline())
    assert (after.outliers, after.dismissed) == (before.outliers[1:], 1)


def stored(index):
    """The same examples, left in a store."""
    return StoreIndex(MemoryRowStore(index), index.contents)


def planted(tmp_path, vectors):
    """An index with wrong labels, an outlier, and copies: near, of the same bytes, and those under two labels."""
    labels = [{3: "b", 51: "a"}.get(row, label) for row, label in enumerate(LABELS)]
    vectors = np.concatenate([vectors, vectors[[10, 70, 110, 110]]])
    away = -vectors[:50].mean(axis=0) - vectors[50:90].mean(axis=0) - vectors[90:120].mean(axis=0)
    vectors[7] = away / np.linalg.norm(away)
    hashes = [f"{number:064x}" for number in range(123)]
    hashes += [f"{200:064x}", hashes[70], hashes[110], hashes[110]]
    return index_of(tmp_path / "index", vectors, [*labels, "a", "a", "c", "c"], hashes)


def test_through_a_store_the_findings_are_the_same(tmp_path, vectors):
    """Where all labels are read: with nearly the same numbers. Copies under one label are judged as one."""
    index, config = planted(tmp_path, vectors), PipelineConfig.offline()
    exact = audit_opened_index([index], config)
    early = []
    audit = audit_opened_index([stored(index)], config, on_labels=early.append)
    pairs = zip(*(sorted(each.label_issues, key=lambda issue: issue.path) for each in (audit, exact)), strict=True)
    for one, other in pairs:
        assert (one.path, one.suggested, one.likely, one.content_hash) == (
            other.path, other.suggested, other.likely, other.content_hash,
        )  # fmt: skip
        assert (one.label_quality, one.probability) == pytest.approx((other.label_quality, other.probability), abs=0.02)
        assert [n.similarity for n in one.neighbors] == pytest.approx([n.similarity for n in other.neighbors])
    assert [outlier.path for outlier in audit.outliers] == [outlier.path for outlier in exact.outliers] == ["a/7.jpg"]
    assert audit.duplicates == exact.duplicates
    assert [len(group.paths) for group in audit.duplicates] == [2, 3, 2]
    assert (audit.examples, audit.judged, audit.searched) == (125, 125, 125)
    assert (exact.examples, exact.searched) == (127, 127)
    assert (audit.thin, audit.dismissed) == (exact.thin, 0)
    assert (early[0].duplicates, early[0].searched) == ([], 0)


def test_of_very_many_examples_in_a_store_a_sample_is_judged(tmp_path, vectors, monkeypatch):
    """The figures say of how many, also for duplicates."""
    index, config = stored(planted(tmp_path, vectors)), PipelineConfig.offline()
    every = audit_opened_index([index], config)
    monkeypatch.setattr(audit_module, "_ALL_STORED", 124)
    monkeypatch.setattr(audit_module, "MOST_ROWS", 90)
    monkeypatch.setattr(stored_duplicates, "MOST_COMPARED", 124)
    audit = audit_opened_index([index], config)
    assert (audit.examples, audit.judged, audit.searched) == (125, 90, 90)
    assert ("examples judged", "90 of 125") in audit.figures
    assert ("searched for duplicates", "90 of 125") in audit.figures
    assert audit.ranking.keys() < every.ranking.keys()
    assert 0 < len(audit.duplicates) <= len(every.duplicates)
    assert {group.paths for group in audit.duplicates} <= {group.paths for group in every.duplicates}


def test_through_a_store_dismissed_findings_are_left_out(tmp_path, vectors):
    """They are known by content and label."""
    index, config = stored(planted(tmp_path, vectors)), PipelineConfig.offline()
    before = audit_opened_index([index], config)
    settled = [before.label_issues[0].dismissal, before.outliers[0].dismissal, before.duplicates[1].dismissal]
    index.contents = replace(index.contents, dismissals=settled)
    after = audit_opened_index([index], config)
    assert after.label_issues == before.label_issues[1:]
    assert after.outliers == before.outliers[1:]
    assert after.duplicates == [before.duplicates[0], before.duplicates[2]]
    assert after.dismissed == 3


@pytest.mark.long
def test_more_labels_than_are_read(tmp_path):
    """Of 70 labels, 64 are read for an example: planted labels still come first, and a sample is judged."""
    labels = [f"label {number:03}" for number in range(70) for _ in range(8)]
    vectors = clustered_embeddings(np.random.default_rng(0), labels, 24, spread=0.5)
    flipped = {100: 40, 300: 3, 500: 17}
    given = [f"label {flipped[row]:03}" if row in flipped else label for row, label in enumerate(labels)]
    index = stored(index_of(tmp_path / "i.npz", vectors, given))
    audit = audit_opened_index([index], PipelineConfig.offline())
    assert audit.judged == 560
    assert {int(issue.path.split("/")[1].split(".")[0]) for issue in audit.label_issues[:3]} == set(flipped)
    assert [issue.suggested for issue in audit.label_issues[:3]] == [
        labels[int(issue.path.split("/")[1].split(".")[0])] for issue in audit.label_issues[:3]
    ]


def test_more_examples_are_judged_than_fit_the_rule(tmp_path, monkeypatch):
    """Where labels are so many that the probabilities of all of them are of few examples."""
    labels = [f"label {number:03}" for number in range(70) for _ in range(6)]
    vectors = clustered_embeddings(np.random.default_rng(0), labels, 24, spread=0.5)
    flipped = {100: 40, 200: 3, 400: 17}
    given = [f"label {flipped[row]:03}" if row in flipped else label for row, label in enumerate(labels)]
    index, seen = stored(index_of(tmp_path / "i.npz", vectors, given)), []
    monkeypatch.setattr(rule_fitting, "MAX_SCORES", 200 * 70)
    audit = audit_opened_index([index], PipelineConfig.offline(), progress=seen.append)
    assert [progress.total for progress in seen if progress.stage == "scoring held-out examples"][-1] == 200
    assert [progress.done for progress in seen if progress.stage == "judging examples"][-1] == 420
    assert audit.judged == len(audit.ranking) == 420
    assert {int(issue.path.split("/")[1].split(".")[0]) for issue in audit.label_issues[:3]} == set(flipped)
    assert audit.accuracy == pytest.approx(417 / 420, abs=0.003)


def test_two_encoders_through_a_store(tmp_path):
    """What one of them does not see, the other does."""
    rng, labels = np.random.default_rng(0), [name for name in "abcd" for _ in range(40)]
    each = [
        clustered_embeddings(rng, [name if name in seen else "?" for name in labels], 24, spread=0.6)
        for seen in ("ab", "cd")
    ]
    given = ["b", *labels[1:150], "c", *labels[151:]]
    write_encoders(tmp_path / "index", given, each)
    config = PipelineConfig.preset("vectors")
    config.retrieval.search = "store"
    audit = audit_index(tmp_path / "index", config, near_duplicate=0.9999)
    exact = audit_index(tmp_path / "index", PipelineConfig.preset("vectors"), near_duplicate=0.9999)
    assert audit.examples == audit.judged == 160
    worst = {(issue.path, issue.suggested) for issue in audit.label_issues[:2]}
    assert worst == {("p/000.jpg", "a"), ("p/150.jpg", "d")}
    assert worst == {(issue.path, issue.suggested) for issue in exact.label_issues[:2]}
    assert audit.accuracy == pytest.approx(exact.accuracy, abs=0.02)


@pytest.mark.long
def test_a_table_is_audited_without_a_copy(tmp_path, vectors, monkeypatch):
    """With the findings of the same rows in memory; what was dismissed before the table was made stays so."""
    pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
    index = planted(tmp_path, vectors)
    before = audit_opened_index([stored(index)], PipelineConfig.offline())
    settled = before.label_issues[0].dismissal
    write_index(tmp_path / "table.lance", replace(index.contents, dismissals=[settled]))
    config = PipelineConfig.preset("vectors")
    config.retrieval.search = "store"
    monkeypatch.setattr(Index, "open_each", lambda *_: pytest.fail("the table was copied"))
    audit = audit_index(tmp_path / "table.lance", config)
    assert audit.dismissed == 1
    assert audit.duplicates == before.duplicates
    assert [issue.path for issue in audit.label_issues] == [issue.path for issue in before.label_issues[1:]]
    for issue, other in zip(audit.label_issues, before.label_issues[1:]):
        assert issue.label_quality == pytest.approx(other.label_quality, abs=1e-6)
        assert [near.example for near in issue.neighbors] == [near.example for near in other.neighbors]


def test_what_a_store_cannot_answer_is_refused_by_name(tmp_path, vectors):
    """A rule over rows of any label."""
    index_of(tmp_path / "i.npz", vectors, LABELS)
    config = PipelineConfig.preset("vectors")
    config.retrieval.search, config.retrieval.rule = "store", "tip"
    with pytest.raises(ConfigError, match=r"retrieval\.rule: tip .*retrieval\.search: exact"):
        audit_index(tmp_path / "i.npz", config)


def test_an_audit_through_a_store_can_be_stopped(tmp_path, vectors):
    """Between its batches, whatever the step."""
    index, config, seen = stored(planted(tmp_path, vectors)), PipelineConfig.offline(), []
    audit_opened_index([index], config, progress=seen.append)
    assert all(0 < progress.done <= progress.total for progress in seen)
    stages = {progress.stage for progress in seen}
    assert {"scoring held-out examples", "counting wrong labels", "reading pixels"} <= stages
    assert_stops_at(stages, index, config)
