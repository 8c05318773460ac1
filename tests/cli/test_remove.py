"""`remove` removes examples by id or by label, and leaves image files alone."""

import json

from tests.helpers.command_line import OFFLINE, run


def test_examples_are_removed_and_files_stay(editable):
    """One that is not in the index is reported with exit code 3."""
    done = run("remove", "stripes/01.png", "missing.png", "--config", OFFLINE, cwd=editable, code=3)
    assert "1 removed: stripes/01.png" in done.stdout
    assert "not done: missing.png" in done.stdout
    report = json.loads(run("remove", "--label", "gingham", "--json", "--config", OFFLINE, cwd=editable).stdout)
    assert len(report["changes"]["removed"]) == 4
    assert len(list((editable / "dataset").rglob("*.png"))) == 16
