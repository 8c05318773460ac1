"""Tables that name files: columns, paths, encodings, labels as they stand in cells."""

import json

import pytest

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source, open_dataset


def opened(path, **choices):
    dataset = open_dataset(DatasetSpec(str(path), **choices), ImagesConfig())
    skipped = {file.path: file.kind for file in dataset.skipped}
    return {example.path: example.label for example in dataset.examples}, skipped


def write(folder, text, name="list.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def test_usual_columns_are_found(tmp_path):
    """`path` and `label` need no options; other columns are passed over; rows without a label are told."""
    path = write(tmp_path, "id,path,label\n1,a.png,cat\n2,b/./c.png,dog\n\n3,d.png,\n4,e.png, \n")
    assert opened(path) == ({"a.png": "cat", "b/c.png": "dog"}, {"d.png": "no_label", "e.png": "no_label"})
    assert len(find_in_source(DatasetSpec(str(path)), ImagesConfig()).places) == 4


def test_no_path_leaves_the_folder_of_the_table(tmp_path):
    """Neither `..`, nor an absolute path elsewhere, nor a URL, nor a link; an absolute path inside is fine."""
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.png").touch()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    outside = ["../secret.png", "a/../../secret.png", str(tmp_path / "secret.png"), "https://host/x.png", "file:///x"]
    outside += ["link.png", "up/secret.png", "s3://bucket/x.png", "C:/x.png", ".added/x.png", "a\0.png", "\ud800.png"]
    rows = [{"path": name, "label": "x"} for name in [*outside, str(folder / "good.png"), "also.png"]]
    path = write(folder, "\n".join(json.dumps(row) for row in rows), "list.jsonl")
    examples, skipped = opened(path)
    assert sorted(examples) == ["also.png", "good.png"]
    assert set(skipped) == set(outside)
    assert set(skipped.values()) <= {"outside", "unreadable"}


def test_a_link_may_lead_where_the_settings_say(tmp_path):
    """As for folders."""
    (tmp_path / "data").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store/1.png").touch()
    (tmp_path / "data/1.png").symlink_to(tmp_path / "store/1.png")
    path = write(tmp_path / "data", "path,label\n1.png,x\n")
    config = ImagesConfig(follow_links=[tmp_path / "store"])
    assert [e.path for e in open_dataset(DatasetSpec(str(path)), config).examples] == ["1.png"]


def test_an_image_that_is_named_twice(tmp_path):
    """The first row counts; another label is told as a conflict."""
    path = write(tmp_path, "path,label\na.png,cat\na.png,cat\n./a.png,dog\nb.png,dog\n")
    dataset = open_dataset(DatasetSpec(str(path)), ImagesConfig())
    assert [(e.path, e.label) for e in dataset.examples] == [("a.png", "cat"), ("b.png", "dog")]
    assert [(file.kind, "'cat'" in file.reason) for file in dataset.skipped] == [("ignored", False), ("repeated", True)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_files_of_spreadsheets(tmp_path, encoding, separator):
    """A mark of the encoding, UTF-16, semicolons and line breaks of Windows."""
    text = "path,label\r\nä.png,Äpfel\r\nb.png,b\r\n".replace(",", separator)
    assert opened(write(tmp_path, text, encoding=encoding))[0] == {"ä.png": "Äpfel", "b.png": "b"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "", "no column is known|no column that is known"),
        ("x.csv", "path,path\na,b\n", "two columns of the same name"),
        ("x.csv", "path,label\na.png\n", "line 2: 1 cells, expected 2"),
        ("x.csv", 'path,label\n"a.png,x\n', "not a CSV file"),
        ("x.csv", "path,label\n", "no labeled image"),
        ("x.csv", "name,label\na.png,x\n", "no column that is known to name images. Its columns are 'name', 'label'"),
        ("x.jsonl", "[1]\n", "line 1: expected an object"),
        ("x.jsonl", '{"path": "a"\n', "line 1: not JSON"),
        ("x.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("x.jsonl", '{"path": 3, "label": "x"}\n', "without the path"),
        ("x.jsonl", '{"path": "a.png", "label": ["x"]}\n', "has no label"),
        ("x.jsonl", '{"path": "a.png", "label": "\\u200b"}\n', "no reader can see"),
        ("x.parquet", "not parquet", "cannot be read as a Parquet file"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, name, text, message):
    """One error says what is wrong, and where."""
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DatasetError, match=message):
        opened(write(tmp_path, text, name))


def test_bytes_that_are_no_text(tmp_path):
    """Latin-1 is not guessed: labels would be wrong."""
    (tmp_path / "x.csv").write_bytes("path,label\nä.png,x\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="not UTF-8"):
        opened(tmp_path / "x.csv")


def test_labels_of_any_type(tmp_path):
    """Numbers and truth values are texts; NaN and null are no labels."""
    cells = {"a": 3, "b": 3.0, "c": 2.5, "d": True, "e": None, "f": float("nan"), "g": "  x "}
    path = write(tmp_path, "\n".join(json.dumps({"path": f"{k}.png", "label": v}) for k, v in cells.items()), "x.jsonl")
    labels, skipped = opened(path)
    assert labels == {"a.png": "3", "b.png": "3", "c.png": "2.5", "d.png": "true", "g.png": "  x "}
    assert set(skipped) == {"e.png", "f.png"}


def test_splits_and_groups(tmp_path):
    """One split is used; without its name all are; a split that is not there is told with those that are."""
    path = write(tmp_path, "path,label,split,part\na.png,x,train,1\nb.png,x,test,2\nc.png,y,train,2\n")
    assert set(opened(path)[0]) == {"a.png", "b.png", "c.png"}
    assert set(opened(path, split="train")[0]) == {"a.png", "c.png"}
    assert set(opened(path, split_from="part", split="2")[0]) == {"b.png", "c.png"}
    dataset = open_dataset(DatasetSpec(str(path), group_from="part"), ImagesConfig())
    assert dataset.groups == ("1", "2", "2")
    with pytest.raises(DatasetError, match=r"no image of the split 'valid'. There are 'test', 'train'"):
        opened(path, split="valid")
    with pytest.raises(DatasetError, match="no column 'nothing'"):
        opened(path, group_from="nothing")
