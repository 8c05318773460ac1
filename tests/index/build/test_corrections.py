"""A table of corrections is applied whole, or refused with every bad row."""

import re
import shutil

import pytest
from PIL import Image

from lmm_classifier import IndexEditor, PipelineConfig, build_index_from_directory
from lmm_classifier.core.errors import DatasetError, IndexFileError
from lmm_classifier.index.build.corrections import Correction, apply_corrections, read_corrections
from lmm_classifier.index.storage.reader import read_store
from tests.helpers.datasets import draw_dataset


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("corrections")
    draw_dataset(root / "dataset", count=2, size=48)
    build_index_from_directory(root / "dataset", root / "index", 16, PipelineConfig.offline())
    return root / "index"


def table(folder, text, encoding="utf-8"):
    (folder / "edits.csv").write_bytes(text.encode(encoding))
    return folder / "edits.csv"


def labels(index):
    contents = read_store(index)
    return dict(zip(contents.paths, contents.labels))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_spreadsheets_write_is_read(tmp_path, separator, line_end):
    """With a byte order mark, columns in any order and more of them, empty rows, and escaped cells."""
    rows = [
        ["label", "note", "path", "action"],
        ["'=b", "x", "a/1.jpg", "Relabel "],
        ["", "", "", ""],
        ["", "two\nlines", '"-q""uote.jpg"', "remove"],
        ["c", "", "a/3.jpg", "keep"],
    ]
    rows[3][1] = '"two\nlines"'
    text = line_end.join(separator.join(cells) for cells in rows)
    assert read_corrections(table(tmp_path, text, "utf-8-sig")) == [
        Correction("a/1.jpg", "relabel", "=b", 2),
        Correction('-q"uote.jpg', "remove", "", 4),
        Correction("a/3.jpg", "keep", "c", 6),
    ]


def test_every_bad_row_is_named(tmp_path):
    """An unknown action, a missing label, a repeated path, a missing cell: each with its line."""
    text = "path,action,label\na,delete,\nb,relabel, \nc,keep,\nc,remove,\nd,keep\n"
    with pytest.raises(DatasetError) as refused:
        read_corrections(table(tmp_path, text))
    message = str(refused.value)
    for part in (
        "line 2: the action is 'delete', expected keep, dismiss, relabel or remove",
        "line 3: no label to give to 'b'",
        "line 5: 'c' is on line 4 already",
        "line 6: 2 cells, expected 3",
        "Nothing was changed",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "path, action, label"),
        ("path,action\na,keep\n", "label is missing"),
        ("path,path,action,label\n", "path is missing or there twice"),
        ('path,action,label\n"a,keep,b\n', "not a CSV file"),
        ("p\0a", "not a table in UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, message):
    """The error says what was expected."""
    with pytest.raises(DatasetError, match=message):
        read_corrections(table(tmp_path, text))


def test_the_first_line_tells_the_separator(tmp_path):
    """Other separators in names, however many, are parts of them."""
    text = "path,action,label\na;;;;;;;;;;;;.png,keep,\nb.png,relabel,x\ty\n"
    assert [row.path for row in read_corrections(table(tmp_path, text))] == ["a;;;;;;;;;;;;.png", "b.png"]


@pytest.mark.parametrize(("bad", "more"), [(20, ""), (21, "; and 1 more"), (22, "; and 2 more")])
def test_twenty_bad_rows_are_named(tmp_path, bad, more):
    """And the number of the others is told."""
    text = "path,action,label\n" + "".join(f"{number},delete,\n" for number in range(bad))
    with pytest.raises(DatasetError) as refused:
        read_corrections(table(tmp_path, text))
    message = str(refused.value)
    assert message.count("the action is 'delete'") == 20
    assert message.endswith(f"relabel or remove{more}. Nothing was changed.")


def test_all_rows_with_missing_cells_are_named(tmp_path):
    """Not only the first one."""
    with pytest.raises(DatasetError, match=r"line 2: 1 cells, expected 3; line 4: 2 cells, expected 3"):
        read_corrections(table(tmp_path, "path,action,label\na\nb,keep,\nc,keep\n"))


def test_a_table_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    """In plain words."""
    with pytest.raises(DatasetError, match=f"^{re.escape(str(tmp_path))} cannot be read: Is a directory$"):
        read_corrections(tmp_path)


@pytest.fixture
def copied(built, tmp_path):
    """A copy of the index, whose example files are where they were."""
    shutil.copytree(built, tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize(("action", "label"), [("remove", ""), ("relabel", "new")])
def test_one_kind_of_edit_is_enough(copied, action, label):
    """Only removed, or only relabeled."""
    before, version = labels(copied), read_store(copied).version
    path = min(before)
    apply_corrections(copied, [Correction(path, action, label, 2)])
    assert read_store(copied).version == version + 1
    assert labels(copied) == {**before, path: "new"} if label else {key: before[key] for key in before if key != path}


def test_files_of_added_examples_are_deleted_and_those_of_the_dataset_stay(copied):
    """An added file may be gone already."""
    editor = IndexEditor(copied, PipelineConfig.offline())
    images = [Image.new("RGB", (32, 32), color) for color in ("red", "green", "blue")]
    added = editor.add(images, "stripes").changes.added
    contents = read_store(copied)
    files = [contents.file_of(path) for path in added]
    of_dataset = min(path for path in labels(copied) if path not in added)
    files[0].unlink()
    apply_corrections(copied, [Correction(path, "remove", "", 2) for path in (*added[:2], of_dataset)])
    assert [file.exists() for file in files] == [False, False, True]
    assert contents.file_of(of_dataset).exists()


def test_a_missing_table_is_an_error(tmp_path):
    """It is named."""
    with pytest.raises(DatasetError, match=r"nothing\.csv"):
        read_corrections(tmp_path / "nothing.csv")


def test_all_rows_are_one_edit(built):
    """Relabel, remove and keep in one version; a row that changes nothing is not counted; sync keeps all of it."""
    before, version = labels(built), read_store(built).version
    rows = [
        Correction("stripes/00.png", "relabel", "gingham", 2),
        Correction("stripes/01.png", "remove", "", 3),
        Correction("gingham/00.png", "keep", "stripes", 4),
        Correction("gingham/01.png", "relabel", "gingham", 5),
    ]
    report = apply_corrections(built, rows)
    assert read_store(built).version == version + 1
    expected = {path: label for path, label in before.items() if path != "stripes/01.png"}
    assert labels(built) == {**expected, "stripes/00.png": "gingham"}
    assert report.changes.removed == ("stripes/01.png",)
    assert report.changes.relabeled == (("stripes/00.png", "stripes", "gingham"),)
    assert (report.images, report.changes.unchanged) == (7, 6)
    IndexEditor(built, PipelineConfig.offline()).sync()
    assert labels(built) == {**expected, "stripes/00.png": "gingham"}


def test_one_bad_row_changes_nothing(built, tmp_path):
    """A row that names no example, or an edit that would leave none, is refused before anything is written."""
    before, version = labels(built), read_store(built).version
    path = next(iter(before))
    good = Correction(path, "remove", "", 2)
    with pytest.raises(DatasetError, match=r"line 3: 'nothing.png' is no example of the index\. Nothing was changed"):
        apply_corrections(built, [good, Correction("nothing.png", "keep", "", 3)])
    with pytest.raises(DatasetError, match="would remove all"):
        apply_corrections(built, [Correction(name, "remove", "", row) for row, name in enumerate(before, 2)])
    with pytest.raises(DatasetError, match="line 3: The label 'Unknown' cannot be told from unknown_label"):
        apply_corrections(built, [good, Correction(list(before)[1], "relabel", "Unknown", 3)])
    with pytest.raises(IndexFileError):
        apply_corrections(tmp_path / "nothing", [good])
    assert apply_corrections(built, []).changes.unchanged == len(before)
    assert (labels(built), read_store(built).version) == (before, version)
