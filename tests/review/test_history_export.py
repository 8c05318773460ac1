"""What an index keeps besides its examples is written whole, and can be read by any program."""

import json
import shutil

import pytest

from lmm_classifier.core.errors import LmmClassifierError, OutputError
from lmm_classifier.review import history_export
from lmm_classifier.review.history_export import export_history
from lmm_classifier.review.reviewer import UPLOAD


def lines(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="ascii").splitlines()]


@pytest.fixture
def kept(review):
    """A review with an upload, answers, one of them undone, and an example that was removed."""
    reviewer, editor = review.reviewer, review.classifier.editor()
    upload = reviewer.runs.create(UPLOAD).id
    data = next(review.new.rglob("*.png")).read_bytes()
    reviewer.add_uploads(upload, [("\u202e../x.png", data)])
    first = list(review.ids.values())
    reviewer.teach(first[:2], "argyle")
    taught = reviewer.teach(first[2:3], "chevron").answer
    reviewer.decide(first[3:5], "unknown")
    reviewer.undo(taught.id)
    editor.remove(editor.examples_of("argyle")[:1], note="<b>why</b>")
    return review


def test_everything_is_written(kept, tmp_path, monkeypatch):
    """Each edit, run, result, answer and image once, the newest first; more than are read at a time."""
    monkeypatch.setattr(history_export, "_PAGE", 2)
    index, reviewer = tmp_path / "index", kept.reviewer
    counts = export_history(index, tmp_path / "history")
    editor = kept.classifier.editor()
    written = {name: lines(tmp_path / "history", name) for name in ("edits", "runs", "results", "answers")}
    assert written["edits"] == json.loads(json.dumps([edit.to_dict() for edit in editor.edits(1000)]))
    assert [run["id"] for run in written["runs"]] == [run.id for run in reviewer.runs.runs()]
    assert [run["state"] for run in written["runs"]] == ["receiving", "done"]
    assert {row["id"] for row in written["results"]} >= set(kept.ids.values())
    assert len(written["results"]) == len(kept.ids) + 1
    decided = {row["id"]: row["decision"] for row in written["results"] if row["decision"]}
    assert sorted(one["kind"] for one in decided.values()) == ["label", "label", "unknown", "unknown"]
    assert [(one["kind"], one["state"]) for one in written["answers"]] == [
        ("unknown", "done"),
        ("label", "undone"),
        ("label", "done"),
    ]
    assert sorted(written["answers"][0]["items"]) == sorted(list(kept.ids.values())[3:5])
    for name in ("added", "trash", "uploads"):
        images = {file.name: file.read_bytes() for file in (tmp_path / "history" / name).iterdir()}
        assert images == {file.name: file.read_bytes() for file in (index / name).iterdir()}
        assert len(images) == counts[name] > 0
    assert all(counts[name] == len(written[name]) for name in written)


def test_an_index_without_runs_has_edits(built, tmp_path):
    """And an `.npz` file has no history."""
    counts = export_history(built / "index", tmp_path / "history")
    assert (counts["edits"], counts["runs"], counts["uploads"]) == (1, 0, 0)
    (tmp_path / "index.npz").touch()
    with pytest.raises(OutputError, match="no durable index"):
        export_history(tmp_path / "index.npz", tmp_path / "other")
    with pytest.raises(LmmClassifierError):
        export_history(built / "dataset", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_nothing_is_overwritten_and_nothing_half_is_left(built, tmp_path, monkeypatch):
    """A folder with a name stays as it is; where the disk is full, no folder is left."""
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        export_history(built / "index", tmp_path / "mine")

    def full(*_):
        raise OSError(28, "No space left on device")

    shutil.copytree(built / "index", tmp_path / "index")
    (tmp_path / "index/added").mkdir(exist_ok=True)
    (tmp_path / "index/added/x.png").touch()
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        export_history(tmp_path / "index", tmp_path / "history")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index", "mine"]
