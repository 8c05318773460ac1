"""COCO and Pascal VOC: boxes, hostile files."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.annotations import list_coco, list_voc
from lmm_classifier.data.readers.crops import Box
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset

IMAGES = [{"id": 1, "file_name": "a.png", "site": "north"}, {"id": "two", "file_name": "../b.png"}, {"id": 3}]
KINDS = [{"id": 7, "name": "cat"}, {"id": 8, "name": None}]


def coco(*annotations, **changes):
    given = [{"id": number, "image_id": 1, "category_id": 7, **values} for number, values in enumerate(annotations)]
    values = {"images": IMAGES, "categories": KINDS, "annotations": given, **changes}
    return list_coco(json.dumps(values).encode(), "x.json", None, "site").rows


def test_boxes_cover_every_pixel_that_they_touch():
    """Whole boxes stay as they are; fractions grow to whole pixels."""
    (whole, part) = coco({"bbox": [1, 2, 3, 4]}, {"bbox": [0.5, 0.5, 1, 1.25]})
    assert (whole.path, whole.label, whole.group) == ("a.png#1,2,4,6", "cat", "north")
    assert part.path == "a.png#0,0,2,2"
    assert Box.around(-0.5, 0, 1, 1) == (-1, 0, 1, 1)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        ({"bbox": [1, 2, 3]}, "no_box"),
        ({"bbox": None}, "no_box"),
        ({"bbox": [1, 2, 0, 4]}, "no_box"),
        ({"bbox": [1, 2, -3, 4]}, "no_box"),
        ({"bbox": [1, 2, float("nan"), 4]}, "no_box"),
        ({"bbox": [1, 2, float("inf"), 4]}, "no_box"),
        ({"bbox": [1e300, 2, 3, 4]}, "no_box"),
        ({"bbox": [1, 2, 3, 4], "iscrowd": 1}, "ignored"),
        ({"bbox": [1, 2, 3, 4], "image_id": 99}, "no_path"),
        ({"bbox": [1, 2, 3, 4], "image_id": 3}, "no_path"),
        ({"bbox": [1, 2, 3, 4], "image_id": "two"}, "outside"),
    ],
)
def test_an_annotation_that_cannot_be_used(annotation, kind):
    """It is told, and the others are used."""
    bad, good = coco(annotation, {"bbox": [0, 0, 1, 1]})
    assert bad.problem[1] == kind
    assert good.problem is None


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
def test_any_json_gives_rows_or_one_error(values):
    """No other error escapes."""
    try:
        list_coco(json.dumps(values).encode(), "x.json", None)
    except DatasetError as error:
        assert "not a COCO file" in str(error)


def rows_of_voc(text):
    return list_voc(iter([("x.xml", text.encode())]), None).rows


def test_voc_counts_from_one():
    """The first pixel is 1, and the last one belongs to the box."""
    box = "<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>10</xmax><ymax>4</ymax></bndbox>"
    part = "<part><name>ear</name><bndbox><xmin>5</xmin></bndbox></part>"
    text = f"<annotation><filename>a.png</filename><object>{part}<name>cat</name>{box}</object></annotation>"
    (row,) = rows_of_voc(text)
    assert (row.path, row.label) == ("a.png#0,2,10,4", "cat")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<annotation>",
        "<annotation/>",
        "<annotation><filename>a.png</filename><object><bndbox><xmin>x</xmin></bndbox></object></annotation>",
        '<!DOCTYPE a [<!ENTITY b "bomb"><!ENTITY c "&b;&b;">]><annotation><filename>&c;</filename></annotation>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation><filename>&b;</filename></annotation>',
    ],
)
def test_a_hostile_voc_file_is_told(text):
    """Entities are not read."""
    (row,) = rows_of_voc(text)
    assert row.problem[1] == "unreadable"


def test_files_that_are_missing(tmp_path):
    """The source is named."""
    for source in (f"coco:{tmp_path}/x.json@{tmp_path}", f"voc:{tmp_path}/boxes@{tmp_path}"):
        with pytest.raises(DatasetError, match="cannot be read: it does not exist"):
            open_dataset(DatasetSpec(source), ImagesConfig())
