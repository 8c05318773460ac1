"""COCO files: labels, groups, boxes that cannot be used, hostile files."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.coco import list_coco
from lmm_classifier.data.readers.crops import Box
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source, open_dataset

IMAGES = [{"id": 1, "file_name": "a.png", "site": "north"}, {"id": "two", "file_name": "../b.png"}, {"id": 3}]
KINDS = [{"id": 7, "name": "cat", "supercategory": "animal"}, {"id": 8, "name": None}]


@pytest.fixture
def folder(tmp_path):
    """The folder with the one image that is there."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    return tmp_path


def coco(folder, *annotations, choices=None, **changes):
    given = [{"id": number, "image_id": 1, "category_id": 7, **values} for number, values in enumerate(annotations)]
    values = {"images": IMAGES, "categories": KINDS, "annotations": given, **changes}
    return listed(folder, values, **{"group_from": "site", **(choices or {})})


def listed(folder, values, **choices):
    return list_coco(json.dumps(values).encode(), "x.json", folder, DatasetSpec("coco:", **choices)).rows


def test_boxes_cover_every_pixel_that_they_touch(folder):
    """Whole boxes stay as they are; fractions grow to whole pixels."""
    (whole, part) = coco(folder, {"bbox": [1, 2, 3, 4]}, {"bbox": [0.5, 0.5, 1, 1.25]})
    assert (whole.path, whole.label, whole.group) == ("a.png#1,2,4,6", "cat", "north")
    assert part.path == "a.png#0,0,2,2"
    assert Box.around(-0.5, 0, 1, 1) == (-1, 0, 1, 1)


@pytest.mark.parametrize(
    ("annotation", "kind", "reason"),
    [
        ({"bbox": [1, 2, 3]}, "no_box", "annotation 0 has no box"),
        ({"bbox": None}, "no_box", "annotation 0 has no box"),
        ({"bbox": [1, 2, 0, 4]}, "no_box", "with a width"),
        ({"bbox": [1, 2, -3, 4]}, "no_box", "with a width"),
        ({"bbox": [1, 2, float("nan"), 4]}, "no_box", "no box"),
        ({"bbox": [1, 2, float("inf"), 4]}, "no_box", "no box"),
        ({"bbox": [1e300, 2, 3, 4]}, "no_box", "no box"),
        ({"bbox": [1, 2, 3, 4], "iscrowd": 1}, "ignored", "a crowd"),
        ({"bbox": [1, 2, 3, 4], "image_id": 99}, "no_path", "image 99 is not in the file"),
        ({"bbox": [1, 2, 3, 4], "image_id": [1]}, "no_path", "is not in the file"),
        ({"bbox": [1, 2, 3, 4], "image_id": None}, "no_path", "names no image"),
        ({"bbox": [1, 2, 3, 4], "image_id": 3}, "no_path", "image 3 has no file_name"),
        ({"bbox": [1, 2, 3, 4], "image_id": "two"}, "outside", "leaves the folder"),
    ],
)
def test_an_annotation_that_cannot_be_used(annotation, kind, reason, folder):
    """It is told, and the others are used."""
    bad, good = coco(folder, annotation, {"bbox": [0, 0, 1, 1]})
    assert bad.problem[1] == kind
    assert reason in bad.problem[0]
    assert good.problem is None


@pytest.mark.parametrize("path", ["/data/a.png", "C:\\data\\a.png", "\\\\server\\a.png"])
def test_an_absolute_path_is_called_so(path, folder):
    """Also where it is one of Windows."""
    (row,) = coco(folder, {"bbox": [1, 2, 3, 4]}, images=[{"id": 1, "file_name": path, "site": ""}])
    assert row.problem == ("its path is absolute; make it relative to the folder of the images", "outside")


def test_labels_and_groups_are_fields_that_are_there(folder):
    """A field that no category or image has is refused, with those that there are."""
    (row,) = coco(folder, {"bbox": [1, 2, 3, 4]}, choices={"label_from": "supercategory", "split_from": "file_name"})
    assert (row.label, row.split) == ("animal", "a.png")
    with pytest.raises(DatasetError, match=r"no field 'kind' for the labels.*id, name, supercategory"):
        coco(folder, {"bbox": [1, 2, 3, 4]}, choices={"label_from": "kind"})
    with pytest.raises(DatasetError, match=r"no field 'room' for the groups.*file_name, id, site"):
        coco(folder, {"bbox": [1, 2, 3, 4]}, choices={"group_from": "room"})


def test_boxes_of_a_detector_need_no_category(folder):
    """They are classified; a build names each by its id, and uses those that have one."""
    boxes = [{"id": 5, "image_id": 1, "bbox": [1, 2, 3, 4]}, {"id": 6, "image_id": 1, "bbox": [5, 5, 9, 9]}]
    file = folder / "x.json"
    file.write_text(json.dumps({"images": IMAGES, "annotations": boxes}))
    spec = DatasetSpec(f"coco:{file}@{folder}")
    assert find_in_source(spec, ImagesConfig()).ids == ("a.png#1,2,4,6", "a.png#5,5,14,14")
    with pytest.raises(DatasetError, match=r"has no label in the categories \(annotation 5\)"):
        open_dataset(spec, ImagesConfig())
    boxes[1]["category_id"] = 7
    file.write_text(json.dumps({"images": IMAGES, "annotations": boxes, "categories": KINDS}))
    dataset = open_dataset(spec, ImagesConfig())
    assert [example.label for example in dataset.examples] == ["cat"]
    assert [file.kind for file in dataset.skipped] == ["no_label"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            [{"image_id": 1, "bbox": [1, 2, 3, 4]}],
            "a list of results, .* put it as annotations into the file with the images",
        ),
        ({"annotations": []}, "it names no images"),
        ({"images": IMAGES}, "it has no 'annotations'"),
    ],
)
def test_a_file_of_another_kind_says_what_it_lacks(values, reason, folder):
    """Such as the results that a detector writes for the evaluation of COCO."""
    with pytest.raises(DatasetError, match=f"not a COCO file.*{reason}"):
        listed(folder, values)


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.floats(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["images", "annotations", "categories", "id", "name", "file_name", "bbox", "image_id"]),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_gives_rows_or_one_error(tmp_path_factory, values):
    """No other error escapes."""
    try:
        listed(tmp_path_factory.getbasetemp(), values)
    except DatasetError as error:
        assert "not a COCO file" in str(error) or "holds none of" in str(error)


def test_files_that_are_missing(tmp_path):
    """The source is named."""
    for source in (f"coco:{tmp_path}/x.json@{tmp_path}", f"voc:{tmp_path}/boxes@{tmp_path}"):
        with pytest.raises(DatasetError, match="cannot be read: it does not exist"):
            open_dataset(DatasetSpec(source), ImagesConfig())
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"The folder of the images, .*/none, does not exist"):
        open_dataset(DatasetSpec(f"coco:{tmp_path}/x.json@{tmp_path}/none"), ImagesConfig())
