"""`import` applies labels that people corrected in other programs, as one edit."""

import json

from tests.helpers.command_line import run


def test_there_and_back(editable):
    """A dry run changes nothing; the edit is undone by its number; what is not used makes the exit code 3."""
    run("export", "--to", "fiftyone", "--output", "fo", cwd=editable)
    labels = json.loads((editable / "fo/labels.json").read_text("ascii"))
    first = next(iter(labels["labels"].values()))
    first["label"] = "argyle"
    (editable / "fo/labels.json").write_text(json.dumps(labels), "utf-8")
    done = run("import", "fo", "--from", "fiftyone", "--dry-run", cwd=editable).stdout
    assert "1 would be relabeled, 15 unchanged\n  gingham/00.png: gingham -> argyle\n1 new labels: argyle" in done
    assert "index: nothing was changed" in done
    done = run("import", "fo", "--from", "fiftyone", "--index", "index", cwd=editable).stdout
    assert "1 relabeled, 15 unchanged" in done
    assert "index: edit 2; `lmm-classifier undo 2` takes it back" in done
    assert "gingham/00.png: argyle -> gingham" in run("undo", cwd=editable).stdout
    (editable / "labels.csv").write_text("path,label\nnone.png,stripes\ngingham/00.png,\n", "utf-8")
    done = run("import", "labels.csv", cwd=editable, code=3).stdout
    assert "1 not used: not there\n  none.png: row 1 names no example of the index" in done
    done = json.loads(run("import", "labels.csv", "--json", "--dry-run", cwd=editable, code=3).stdout)
    assert done["kinds"] == {"not_there": 1, "no_label": 1}


def test_what_is_refused(editable):
    """Options of corrected labels without them, and a file whose source is not known."""
    run("import", "copy.npz", "--dry-run", cwd=editable, code=2)
    done = run("import", "labels.json", cwd=editable, code=2)
    assert "not known by its ending. Expected --from" in " ".join(done.stderr.split())
    done = run("import", "none.json", "--from", "label-studio", cwd=editable, code=1)
    assert "none.json cannot be read" in done.stderr
