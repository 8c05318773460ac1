"""Editing commands say what they did; together they are the life of an index."""

import json

import pytest

from lmm_classifier.cli.edit_output import print_changes
from lmm_classifier.index.build.reports import Changes
from tests.helpers.command_line import OFFLINE, run


def test_the_life_of_an_index(editable):
    """Rename a folder, sync, add, relabel, remove, sync again, doctor: everything is remembered."""

    def edit(*arguments, code=0):
        return run(*arguments, "--config", OFFLINE, cwd=editable, code=code).stdout

    (editable / "dataset" / "stripes").rename(editable / "dataset" / "lines")
    edit("sync")
    edit("add", "photo.png", "--label", "argyle")
    edit("relabel", "lines/00.png", "--to", "gingham")
    edit("relabel", "--label", "polka_dots", "--to", "dots")
    edit("remove", "lines/01.png", "missing.png", code=3)
    text = edit("sync", "dataset")
    assert "1 left out, because they were removed by hand: lines/01.png" in text
    assert "stale" not in text
    described = json.loads(run("info", "--json", cwd=editable).stdout)
    assert described["labels"] == {"argyle": 1, "dots": 4, "gingham": 5, "herringbone": 4, "lines": 2}
    assert described["stale"] == []
    assert run("doctor", cwd=editable).stdout == "index: sound\n"


def test_long_lists_are_cut(capsys, tmp_path):
    """Ten ids of a kind are shown, and the number of the others."""
    names = tuple(f"a/{number}.jpg" for number in range(13))
    print_changes(tmp_path, Changes(added=names, unchanged=2, encoded=13), 15, (), ("calibration: old",))
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("13 added: a/0.jpg")
    assert first.endswith("a/9.jpg and 3 more")
    assert last == "stale: calibration: old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove"], "No example is named"),
        (["relabel", "--to", "x", "--label", "missing"], "No example has the label 'missing'"),
    ],
)
def test_an_edit_without_an_example_is_refused(durable, arguments, message):
    """The error says how to name examples."""
    assert message in run(*arguments, "--config", OFFLINE, cwd=durable, code=1).stderr
