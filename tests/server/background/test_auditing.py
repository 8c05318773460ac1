"""Findings are shown until they are settled, also by edits after the audit."""

import shutil

import pytest

from lmm_classifier.evaluation.audit import audit_index
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index
from lmm_classifier.server.background.auditing import findings_that_hold
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
