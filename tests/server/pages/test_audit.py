"""Findings are decided one at a time; each decision is an edit."""

import re

from tests.helpers.forms import PAGE, followed, send


def _finding(page):
    return re.search(r'name="finding" value="(\w+)"', page).group(1)


def test_a_wrong_label_is_repaired_kept_or_removed(auditor):
    """The finding is gone then, and comes back with Undo."""
    for fields in ({"action": "fix", "label": "red"}, {"action": "keep"}, {"action": "remove"}):
        page = auditor.get("/dataset/audit/suspects").text
        assert "green/wrong.png" in page
        assert "It is <bdi>red</bdi>" in page
        after = followed(auditor, send(auditor, "/dataset/audit/suspects", finding=_finding(page), at="0", **fields))
        assert "green/wrong.png" not in after
        gone = send(auditor, "/dataset/audit/suspects", finding=_finding(page), at="0", **fields)
        assert gone.status_code == 409
        undo = re.search(r'action="(/edits/\d+/undo)"', after).group(1)
        assert "Undone" in followed(auditor, send(auditor, undo, then="/dataset/audit/suspects?at=0"))


def test_one_of_several_copies_is_kept(auditor):
    """Or all of them."""
    page = auditor.get("/dataset/audit/duplicates").text
    assert "the same bytes" in page
    fields = {"finding": _finding(page), "at": "0"}
    assert send(auditor, "/dataset/audit/duplicates", action="only", position="9", **fields).status_code == 400
    page = followed(auditor, send(auditor, "/dataset/audit/duplicates", action="only", position="1", **fields))
    assert "1 example removed" in page
    assert "Nothing is left to decide" in page
    undo = re.search(r'action="(/edits/\d+/undo)"', page).group(1)
    send(auditor, undo, then="/dataset")
    page = followed(auditor, send(auditor, "/dataset/audit/duplicates", action="keep", **fields))
    assert "1 finding called right" in page


def test_pages_of_other_kinds_and_places(auditor):
    """A place behind the last one is the last one."""
    assert auditor.get("/dataset/audit/none", headers=PAGE).status_code == 404
    at, count = re.search(r"(\d+) of (\d+)</p>", auditor.get("/dataset/audit/suspects?at=999").text).groups()
    assert at == count
    assert "Outliers" in auditor.get("/dataset/audit/outliers?at=x").text
    assert "outlier" in auditor.get("/dataset/audit/state").text
