"""Findings are shown until they are settled, also by edits after the audit."""

import shutil
import threading
import time

import pytest

from lmm_classifier.core.progress import Progress
from lmm_classifier.evaluation import audit as audit_module
from lmm_classifier.evaluation.audit import audit_index
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.server.background.auditing import Auditing, findings_that_hold
from tests.helpers.datasets import offline_config
from tests.helpers.encoders import ColorEncoder


@pytest.fixture
def mistakes(mistaken, tmp_path):
    """A copy of that index, its settings and its audit."""
    shutil.copytree(mistaken / "index", tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    config = offline_config(tmp_path / "index", rerank__enabled=False)
    return tmp_path / "index", config, audit_index(tmp_path / "index", config)


def test_findings_are_left_out_once_they_are_settled(mistakes):
    """By a dismissal, another label, or a removal; and they come back when that is undone."""
    index, config, audit = mistakes
    editor = IndexEditor(index, config, ColorEncoder())
    wrong = audit.label_issues[0]
    assert wrong.path == "green/wrong.png"

    def paths(kind="label"):
        return [finding.path for finding in findings_that_hold(audit, read_index(index))[kind]]

    for edit in (
        lambda: editor.dismiss([wrong.dismissal]),
        lambda: editor.relabel([wrong.path], "red"),
        lambda: editor.remove([wrong.path]),
    ):
        assert wrong.path in paths()
        report = edit()
        assert wrong.path not in paths()
        editor.undo(report.edit)
    assert wrong.path in paths()


def test_a_group_of_duplicates_shrinks_with_its_examples(mistakes):
    """Until one is left; the labels are those of now."""
    index, config, audit = mistakes
    editor = IndexEditor(index, config, ColorEncoder())
    (group,) = findings_that_hold(audit, read_index(index))["duplicates"]
    editor.relabel([group.paths[0]], "green")
    (group,) = findings_that_hold(audit, read_index(index))["duplicates"]
    assert group.contradict
    editor.remove([group.paths[0]])
    assert findings_that_hold(audit, read_index(index))["duplicates"] == []
    assert findings_that_hold(None, read_index(index))["label"] == ()


@pytest.fixture
def auditing(mistakes):
    """Audits of that index."""
    _, config, _ = mistakes
    with HybridClassifier(config, ColorEncoder()) as classifier:
        audits = Auditing(classifier)
        yield audits
        audits.close()


@pytest.fixture
def held(monkeypatch):
    """Holds audits before their search for duplicates until the event is set; it tells when each got there."""
    search, release, arrived = audit_module.find_duplicates, threading.Event(), threading.Semaphore(0)

    def searched(index, images, near_duplicate, progress):
        arrived.release()
        while not release.is_set():
            progress(Progress("reading pixels", 1, len(index)))  # stops it
            time.sleep(0.001)
        return search(index, images, near_duplicate, progress)

    monkeypatch.setattr(audit_module, "find_duplicates", searched)
    return release, arrived


def ended(audits):
    """The view once no audit runs."""
    deadline = time.monotonic() + 60
    while (view := audits.view()).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return view


def test_labels_are_shown_while_duplicates_are_searched(auditing, held, mistakes):
    """And then the duplicates too; a second audit shows those of the first until its own are known."""
    release, arrived = held
    auditing.start()
    assert arrived.acquire(timeout=60)
    view = auditing.view()
    assert (view.state, view.missing, view.findings["duplicates"]) == ("running", ("duplicates",), [])
    assert view.findings["label"][0].path == "green/wrong.png"
    release.set()
    view = ended(auditing)
    assert (view.state, view.missing) == ("done", ())
    assert view.audit == mistakes[2]
    release.clear()
    auditing.start()
    assert arrived.acquire(timeout=60)
    assert auditing.view().findings["duplicates"] == view.findings["duplicates"] != []
    auditing.close()
    assert auditing.view().missing == ("duplicates",)


def test_an_audit_under_way_ends_when_the_server_does(auditing, held):
    """Its thread ends; no other starts."""
    auditing.start()
    assert held[1].acquire(timeout=60)
    thread = auditing._run.thread
    auditing.close()
    assert not thread.is_alive()
    auditing.start()
    assert auditing.view().state == "canceled"


@pytest.mark.long
def test_a_new_version_is_audited_where_somebody_asks_for_that(auditing, held, mistakes):
    """The audit of the former version is given up; one of the same version is left alone."""
    index, config, _ = mistakes
    release, arrived = held
    auditing.start()
    assert arrived.acquire(timeout=60)
    first = auditing._run
    auditing.start()
    assert auditing._run is first
    IndexEditor(index, config, ColorEncoder()).remove(["green/wrong.png"])
    auditing.start()
    assert auditing._run is not first
    assert arrived.acquire(timeout=60)
    release.set()
    view = ended(auditing)
    assert not first.thread.is_alive()
    assert view.is_current
    assert "green/wrong.png" not in [issue.path for issue in view.audit.label_issues]
