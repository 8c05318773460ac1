"""`undo` takes an edit back, and says what it did."""

import json

from tests.helpers.command_line import OFFLINE, run


def test_an_edit_is_taken_back_and_done_again(editable):
    """Each edit prints its number; the newest that is not undone is the default."""

    def edit(*arguments, code=0):
        return run(*arguments, "--config", OFFLINE, cwd=editable, code=code)

    assert "edit 2; `lmm-classifier undo 2` takes it back" in edit("relabel", "stripes/00.png", "--to", "a").stdout
    assert "edit 3;" in edit("add", "photo.png", "--label", "argyle").stdout
    assert "1 removed: .added/" in edit("undo").stdout
    assert "stripes/00.png: a -> stripes" in edit("undo", "--note", "wrong").stdout
    report = json.loads(edit("undo", "5", "--json").stdout)
    assert report["changes"]["relabeled"] == [["stripes/00.png", "stripes", "a"]]
    assert "Edit 3 is undone already, by edit 4" in edit("undo", "3", code=1).stderr
    edit("undo")
    assert "no edit that can be undone" in edit("undo", code=1).stderr
