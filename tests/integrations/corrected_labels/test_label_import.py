"""Labels that people corrected elsewhere become one edit, or none; what is not used is named."""

import json

import pytest

from lmm_classifier.core.csv_cells import escape_cell
from lmm_classifier.core.errors import ConflictError, DatasetError, IndexFileError
from lmm_classifier.core.paths import absolute
from lmm_classifier.index.build import corrections
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index
from lmm_classifier.integrations.corrected_labels import label_import
from lmm_classifier.integrations.corrected_labels.label_import import import_labels
from lmm_classifier.integrations.exports.export_options import ExportOptions
from lmm_classifier.integrations.exports.index_export import export_index
from tests.helpers.datasets import offline_config
from tests.helpers.vector_indexes import write_clusters

URLS = ExportOptions(url_prefix="https://example.org/")


@pytest.fixture
def index(tmp_path):
    """A durable index of vectors: a/0.jpg to a/5.jpg, and so on for b."""
    return write_clusters(tmp_path / "index", ["a"] * 6 + ["b"] * 6)


def labels_of(index):
    contents = read_index(index)
    return dict(zip(contents.paths, contents.labels))


def write_json(path, values):
    path.write_text(json.dumps(values), "utf-8")
    return path


def annotation(*choices, **values):
    chosen = {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}
    return {"result": [chosen], "was_cancelled": False, **values}


def reviewed(index, folder, answers):
    """Return the tasks of an index as Label Studio exports them, with annotations by the numbers of tasks."""
    export_index(index, folder / "tasks.json", "label-studio", options=URLS)
    tasks = json.loads((folder / "tasks.json").read_text("ascii"))
    for number, annotations in answers.items():
        tasks[number] |= {"id": 100 + number, "annotations": annotations}
    return write_json(folder / "reviewed.json", tasks)


def test_label_studio_there_and_back(index, tmp_path):
    """Corrected labels are one edit that is undone at once; predictions are no labels."""
    before = labels_of(index)
    answers = {0: [annotation("b")], 1: [annotation("new label")], 2: [annotation("a"), annotation("a")]}
    file = reviewed(index, tmp_path, answers)
    planned = import_labels(index, file, "label-studio", dry_run=True)
    assert labels_of(index) == before
    done = import_labels(index, file, "label-studio", origin="test")
    assert done.relabeled == planned.relabeled == (("a/0.jpg", "a", "b"), ("a/1.jpg", "a", "new label"))
    assert (done.unchanged, done.new_labels, done.kinds) == (1, ("new label",), {"no_label": 9})
    assert (planned.edit, done.edit) == (None, 2)
    editor = IndexEditor(index, offline_config(index))
    (edit, _) = editor.edits()
    assert (edit.note, edit.origin) == ("labels of label-studio, reviewed.json", "test")
    editor.undo()
    assert labels_of(index) == before
    json.dumps(done.to_dict())


def test_what_is_not_used_is_named(index, tmp_path):
    """Nobody is overruled: people who disagree, skipped tasks, several choices, and an index that changed since."""
    answers = {
        0: [annotation("a"), annotation("b")],
        1: [annotation("b", was_cancelled=True)],
        2: [annotation("a", "b")],
        3: [{"result": [], "was_cancelled": False}],
        4: [annotation("b")],
        5: [annotation("unknown")],
        6: [annotation("a")],
    }
    file = reviewed(index, tmp_path, answers)
    tasks = json.loads(file.read_text("utf-8"))
    tasks.append({"id": 7, "data": {"image": "x"}, "annotations": [annotation("a")]})
    write_json(file, tasks)
    IndexEditor(index, offline_config(index)).relabel(["a/4.jpg"], "c")
    done = import_labels(index, file, "label-studio")
    assert done.relabeled == (("b/10.jpg", "b", "a"),)
    reasons = {skipped.path: (skipped.kind, skipped.reason) for skipped in done.skipped}
    assert reasons["a/0.jpg"] == ("conflict", "task 100: people disagree: 'a', 'b'")
    assert reasons["a/1.jpg"] == ("no_label", "task 101: the annotator skipped it")
    assert reasons["a/2.jpg"] == ("no_label", "task 102: the annotator chose several labels")
    assert reasons["a/3.jpg"] == ("no_label", "task 103: the annotator chose no label")
    assert reasons["a/4.jpg"] == ("changed", "task 104: it was relabeled to 'c' since the export")
    assert reasons["a/5.jpg"] == ("no_label", "task 105: 'unknown' is no label of an example; remove it")
    assert reasons["x"] == ("not_there", "task 7 names no example of the index")


def test_the_short_format_of_label_studio(index, tmp_path):
    """JSON-MIN has the data and the answer in one object, one for each annotation."""
    rows = [
        {"id": 1, "example": "a/0.jpg", "exported_label": "a", "label": "b", "image": "x"},
        {"id": 2, "example": "a/1.jpg", "exported_label": "a", "label": {"choices": ["b", "a"]}, "image": "x"},
        {"id": 3, "example": "a/2.jpg", "label": "b", "image": "x"},
        {"id": 3, "example": "a/2.jpg", "label": "a", "image": "x"},
        {"id": 4, "example": "a/3.jpg", "image": "x"},
    ]
    done = import_labels(index, write_json(tmp_path / "min.json", rows), "label-studio")
    assert done.relabeled == (("a/0.jpg", "a", "b"),)
    assert {skipped.path: skipped.kind for skipped in done.skipped} == {
        "a/1.jpg": "no_label",
        "a/2.jpg": "conflict",
        "a/3.jpg": "no_label",
    }


def test_fiftyone_there_and_back(index, tmp_path):
    """The attributes of a label name its example; without them its file does."""
    export_index(index, tmp_path / "out", "fiftyone")
    labels = json.loads((tmp_path / "out/labels.json").read_text("ascii"))
    first, second, third = list(labels["labels"])[:3]
    labels["labels"][first]["label"] = labels["classes"].index("b")
    labels["labels"][second] = "new"  # made anew in the other program: no attributes are left
    labels["labels"][third]["label"] = None
    write_json(tmp_path / "out/labels.json", labels)
    done = import_labels(index, tmp_path / "out", "fiftyone")
    assert done.relabeled == (("a/0.jpg", "a", "b"), ("a/1.jpg", "a", "new"))
    assert [(skipped.path, skipped.reason) for skipped in done.skipped] == [
        ("a/2.jpg", "image 000000002: it has no label")
    ]


def test_images_of_fiftyone_are_found_by_their_files(index, tmp_path):
    """The names are those of files without the ending, in `data.json` or in the folder `data`."""
    root = absolute(read_index(index).manifest.image_root)
    values = {"classes": ["a", "b"], "labels": {"x.y/0": 1, "1": {"label": 1}, "2": 1}}
    file = write_json(tmp_path / "labels.json", values)
    write_json(tmp_path / "data.json", {"x.y/0.jpg": f"{root}/a/0.jpg", "1": f"{root}/a/1.jpg"})
    done = import_labels(index, file, "fiftyone", dry_run=True)
    assert done.relabeled == (("a/0.jpg", "a", "b"), ("a/1.jpg", "a", "b"))
    assert [(one.path, one.kind) for one in done.skipped] == [("image 2", "not_there")]
    (tmp_path / "data.json").unlink()
    (tmp_path / "data/x.y").mkdir(parents=True)
    (tmp_path / "data/x.y/0.jpg").write_bytes(b"")
    done = import_labels(index, file, "fiftyone", dry_run=True)
    assert done.skipped[0].path == str(tmp_path / "data/x.y/0.jpg")


def test_samples_of_fiftyone(index, tmp_path):
    """Its own format has the labels in a field of each sample; without attributes the file names the example."""
    root = absolute(read_index(index).manifest.image_root)
    new = {"_cls": "Classification", "label": "b"}
    samples = [
        {"filepath": f"{root}/a/0.jpg", "ground_truth": new, "predictions": {**new, "label": "c"}},
        {"filepath": "x.jpg", "ground_truth": {**new, "example": "a/1.jpg", "exported_label": "a"}},
        {"filepath": f"{root}/a/2.jpg", "ground_truth": None},
    ]
    file = write_json(tmp_path / "samples.json", {"samples": samples})
    done = import_labels(index, tmp_path, "fiftyone", dry_run=True)
    assert done.relabeled == (("a/0.jpg", "a", "b"), ("a/1.jpg", "a", "b"))
    assert [(one.path, one.kind) for one in done.skipped] == [("a/2.jpg", "no_label")]
    done = import_labels(index, file, "fiftyone", name="predictions", dry_run=True)
    assert done.relabeled == (("a/0.jpg", "a", "c"),)
    assert [(one.path, one.kind) for one in done.skipped] == [
        (str(tmp_path / "x.jpg"), "not_there"),
        ("a/2.jpg", "no_label"),
    ]
    with pytest.raises(DatasetError, match="no field 'other' of classifications. It has 'ground_truth', 'predictions'"):
        import_labels(index, file, "fiftyone", name="other")
    for sample in samples:
        sample["mine"] = sample.pop("ground_truth")
    write_json(file, {"samples": samples})
    with pytest.raises(DatasetError, match="several fields"):
        import_labels(index, file, "fiftyone")


def test_a_table(index, tmp_path):
    """With the apostrophes of spreadsheets; an empty cell is no label."""
    table = tmp_path / "labels.csv"
    table.write_text(f"path,label\na/0.jpg,{escape_cell('=1+1')}\na/1.jpg,\nnone.jpg,b\na/2.jpg,a\n", "utf-8")
    done = import_labels(index, table, "csv")
    assert done.relabeled == (("a/0.jpg", "a", "=1+1"),)
    assert done.unchanged == 1
    assert {skipped.path: skipped.kind for skipped in done.skipped} == {"a/1.jpg": "no_label", "none.jpg": "not_there"}
    table.write_text("path,label,mine\na/1.jpg,a,b\n", "utf-8")
    assert import_labels(index, table, "csv", name="mine").relabeled == (("a/1.jpg", "a", "b"),)
    table.write_text("path,notes\na/1.jpg,a\n", "utf-8")
    with pytest.raises(DatasetError, match="no column of labels"):
        import_labels(index, table, "csv")


@pytest.mark.parametrize(("label", "reason"), [("b\u200b", "cannot be seen"), ("Unknown", "cannot be told from")])
def test_a_label_that_cannot_be_one_stops_everything(index, tmp_path, label, reason):
    """The other corrections are not applied either."""
    before = labels_of(index)
    (tmp_path / "labels.csv").write_text(f"path,label\na/0.jpg,b\na/1.jpg,{label}\n", "utf-8")
    with pytest.raises(DatasetError, match=reason):
        import_labels(index, tmp_path / "labels.csv", "csv")
    assert labels_of(index) == before
    assert IndexEditor(index, offline_config(index)).count_edits() == 1


def test_another_program_is_not_overruled(index, tmp_path, monkeypatch):
    """An example that is relabeled between reading and writing stays as it is, and so do all others."""

    def late(*arguments, **options):
        IndexEditor(index, offline_config(index)).relabel(["a/1.jpg"], "c")
        return corrections.apply_corrections(*arguments, **options)

    monkeypatch.setattr(label_import, "apply_corrections", late)
    (tmp_path / "labels.csv").write_text("path,label\na/0.jpg,b\na/1.jpg,b\n", "utf-8")
    with pytest.raises(ConflictError, match=r"'a/1.jpg' is 'c', not 'a'"):
        import_labels(index, tmp_path / "labels.csv", "csv")
    assert labels_of(index)["a/0.jpg"] == "a"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("label-studio", "{}"),
        ("label-studio", "[1]"),
        ("label-studio", "nonsense"),
        ("fiftyone", "[]"),
        ("fiftyone", '{"labels": []}'),
        ("fiftyone", '{"samples": [{"filepath": "x"}]}'),
        ("csv", ""),
        ("csv", 'path,label\n"a'),
    ],
)
def test_what_is_no_such_file(index, tmp_path, kind, text):
    """The message says what was expected."""
    (tmp_path / "file").write_text(text, "utf-8")
    with pytest.raises(DatasetError, match="file"):
        import_labels(index, tmp_path / "file", kind)


@pytest.mark.parametrize("kind", ["label-studio", "fiftyone", "csv"])
def test_what_is_not_there(index, tmp_path, kind):
    """Neither the source nor an index; and an index in one file cannot be edited."""
    with pytest.raises(DatasetError, match="none"):
        import_labels(index, tmp_path / "none", kind)
    with pytest.raises(IndexFileError, match="no index"):
        import_labels(tmp_path / "none", tmp_path / "none", kind)
    with pytest.raises(IndexFileError, match="cannot be edited"):
        import_labels(write_clusters(tmp_path / "x.npz"), tmp_path / "none", kind)
    with pytest.raises(DatasetError, match="Expected label-studio, fiftyone, csv"):
        import_labels(index, tmp_path / "none", "voc")


def test_odd_entries_of_tasks_are_passed_over(index, tmp_path):
    """Whatever another program writes, there is a reason and no traceback."""
    answers = [None, 1, "x", {}, {"result": 1}, {"result": [1, {"from_name": "label", "value": None}]}]
    tasks = [{"data": {"example": "a/0.jpg"}, "annotations": [answer]} for answer in answers]
    tasks += [{"data": {"example": "a/0.jpg"}, "annotations": 3}, {"data": {"example": 1}}, {}]
    done = import_labels(index, write_json(tmp_path / "odd.json", tasks), "label-studio")
    assert done.relabeled == ()
    assert set(done.kinds) == {"no_label", "not_there"}
