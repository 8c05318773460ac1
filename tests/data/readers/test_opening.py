"""Sources by their form: kinds, levels of folders, what is gone."""

import pytest

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import read_image
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source, is_one_image, open_dataset, open_root, source_problem
from tests.helpers.datasets import draw_dataset


def test_levels_of_folders(tmp_path):
    """A number counts from the root, `parent` from the image; images above their level have no label."""
    for name in ("a/x/1.png", "a/y/2.png", "b/x/z/3.png", "b/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def labels(**choices):
        dataset = open_dataset(DatasetSpec(str(tmp_path), **choices), ImagesConfig())
        return [example.label for example in dataset.examples], [file.path for file in dataset.skipped]

    assert labels() == (["a", "a", "b", "b"], [])
    assert labels(label_from="2") == (["x", "y", "x"], ["b/4.png"])
    assert labels(label_from="parent") == (["x", "y", "b", "z"], [])
    assert labels(label_from="2", split_from="1", split="a") == (["x", "y"], [])
    for wrong in ("0", "-1", "x", "", "٣"):
        with pytest.raises(DatasetError, match=r"it is a level, 1 or more, or 'parent'|holds no labeled image"):
            labels(label_from=wrong or "0")


def test_the_folders_above_a_label_are_a_hierarchy(tmp_path):
    """Labels are the last folders; a name that stands in it twice is refused, with what to do; groups have no path."""

    def labels(*names, **choices):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        dataset = open_dataset(DatasetSpec(str(root), label_from="path", **choices), ImagesConfig())
        return [example.label for example in dataset.examples], [file.path for file in dataset.skipped]

    assert labels("a/b/x/1.png", "a/y/2.png", "z/3.png", "4.png") == (["x", "y", "z"], ["4.png"])
    for names, message in (
        (["a/x/1.png", "b/x/2.png"], "the labels 'x' stand in it twice"),
        (["a/1.png", "a/x/2.png"], "'a' is both a label and a coarse label"),
        (["a/b/x/1.png", "c/b/y/2.png"], "the coarse label 'b' stands below 'a' and 'c'"),
    ):
        with pytest.raises(DatasetError, match=f"no hierarchy: {message}.*label_from: parent"):
            labels(*names)
    with pytest.raises(DatasetError, match="group_from is 'path'"):
        labels("a/x/1.png", group_from="path")


def test_the_kind_is_told_by_the_form(tmp_path):
    """A folder may end like an archive; a file of another kind is named with what is read."""
    folder = draw_dataset(tmp_path / "images.zip", ("stripes", "ogee"), 2, size=16)
    assert len(open_dataset(DatasetSpec(str(folder)), ImagesConfig()).examples) == 4
    assert not is_one_image(str(folder))
    assert is_one_image(str(folder / "ogee/00.png"))
    assert is_one_image("no such file")
    assert not any(map(is_one_image, ["x.csv", "s3://bucket/x.png", "coco:a@b", "hf:a/b"]))
    with pytest.raises(DatasetError, match="expected a folder of labeled images"):
        open_dataset(DatasetSpec(str(tmp_path / "nothing.rar"), label_from="2"), ImagesConfig())
    for name in ("nothing.zip", "nothing.tar", "nothing.csv", "nothing.jsonl"):
        with pytest.raises(DatasetError, match="cannot be read: (it does not exist|No such file)"):
            open_dataset(DatasetSpec(str(tmp_path / name)), ImagesConfig())


def test_a_root_of_what_is_gone_reads_nothing(tmp_path):
    """Opening it is no error: each place says what is missing."""
    for source in ("images", "x.zip", "x.tar", "x-{0..1}.tar", "x.csv", "x.parquet", "coco:x.json@images"):
        stored = DatasetSpec(source.replace("images", str(tmp_path / "images"))).fixed().stored()
        place = open_root(stored) / "a/1.png"
        with pytest.raises(Exception, match=r"(?i)no such file|not exist|not installed"):
            read_image(place)
        if not source.endswith(("csv", "parquet")):
            assert "is missing" in source_problem(stored)


def test_images_without_labels_are_found_too(tmp_path):
    """For `classify`, an image needs no label."""
    draw_dataset(tmp_path / "images", ("ogee",), 2, size=16)
    (tmp_path / "images/loose.png").write_bytes((tmp_path / "images/ogee/00.png").read_bytes())
    assert len(find_in_source(DatasetSpec(str(tmp_path / "images")), ImagesConfig()).places) == 3
