"""`edits` lists the journal, and forgets old edits."""

import json

from tests.helpers.command_line import OFFLINE, run


def test_edits_are_listed_and_forgotten(editable):
    """The newest first, with note and origin; a bad day is refused."""

    def edit(*arguments, code=0):
        return run(*arguments, "--config", OFFLINE, cwd=editable, code=code)

    edit("add", "photo.png", "--label", "argyle", "--note", "from the shelf")
    edit("relabel", "--label", "stripes", "--to", "lines")
    edit("undo")
    lines = edit("edits").stdout.splitlines()
    heads = [line.split("  ") for line in lines if not line.startswith(" ")]
    assert [head[0] for head in heads] == ["4", "3", "2", "1"]
    assert heads[0][2:] == ["undo", "undoes 3", "command line"]
    assert heads[1][2:4] == ["rename_label", "undone by 4"]
    assert heads[2][2:] == ["add", "command line", "from the shelf"]
    *shown, more = edit("edits", "--limit", "1").stdout.splitlines()
    assert (len(shown), more) == (2, "3 more: --before 4 lists older ones, --limit sets how many")
    assert edit("edits", "--limit", "3", "--json").stderr.startswith("1 more: --before 2")
    listed = json.loads(edit("edits", "--before", "3", "--json").stdout)
    assert [(item["id"], item["kind"]) for item in listed] == [(2, "add"), (1, "build")]
    edit("edits", "--purge-before", "yesterday", code=2)
    assert "0 edits forgotten" in edit("edits", "--purge-before", "2020-01-01").stdout
    assert json.loads(edit("edits", "--purge-before", "2100-01-01", "--json").stdout)["edits"] == 4
    assert edit("edits").stdout == "no edits\n"
