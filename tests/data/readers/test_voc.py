"""Pascal VOC files: corners, names of images, hostile files."""

import pytest
from PIL import Image

from lmm_classifier.core.errors import DatasetError, ImageSizeError
from lmm_classifier.data.images import read_image
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.voc import list_voc


@pytest.fixture
def rows_of_voc(tmp_path):
    """Return what lists one file; two images are there."""
    for name in ("a.png", "x.jpg"):
        Image.new("RGB", (20, 10)).save(tmp_path / name)
    return lambda text, **choices: (
        list_voc(iter([("x.xml", text.encode())]), "boxes", tmp_path, DatasetSpec("voc:", **choices)).rows
    )


BOX = "<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>10</xmax><ymax>4</ymax></bndbox>"


@pytest.mark.parametrize(
    ("named", "file"),
    [
        ("<filename>a.png</filename>", "a.png"),
        ("<filename>a</filename>", "a.png"),
        ("<filename>/data/a.png</filename>", "x.jpg"),
        ("<filename>C:\\data\\a.png</filename>", "x.jpg"),
        ("<filename/>", "x.jpg"),
        ("", "x.jpg"),
        ("<filename>none</filename>", "x.jpg"),
        ("<filename>none.png</filename><object><name>cat</name>" + BOX.replace("1<", "2<") + "</object>", "none.png"),
    ],
)
def test_an_image_that_is_not_named_in_full_has_the_name_of_the_xml_file(named, file, rows_of_voc):
    """A name that is relative and has an ending counts as it is."""
    if file == "none.png":
        with pytest.raises(DatasetError, match=r"holds none of the 1 images.*none\.png"):
            rows_of_voc(f"<annotation>{named}</annotation>")
        return
    (row,) = rows_of_voc(f"<annotation>{named}<object><name>cat</name>{BOX}</object></annotation>")
    assert row.path == f"{file}#0,2,10,4"


def test_groups_of_voc(rows_of_voc):
    """Boxes of one image belong together by its name; other fields are refused."""
    text = f"<annotation><filename>a.png</filename><object><name>cat</name>{BOX}</object></annotation>"
    (row,) = rows_of_voc(text, group_from="filename")
    assert row.group == "a.png"
    for choices in ({"group_from": "site"}, {"label_from": "pose"}, {"split_from": "set"}):
        with pytest.raises(DatasetError, match="has no field"):
            rows_of_voc(text, **choices)


def test_the_size_of_the_image_is_compared(tmp_path):
    """The size that the file tells is kept for whoever cuts the box out."""
    Image.new("RGB", (20, 10)).save(tmp_path / "x.jpg")
    text = f"<annotation><size><width>40</width><height>20</height></size><object>{BOX}</object></annotation>"
    listing = list_voc(iter([("x.xml", text.encode())]), "boxes", tmp_path, DatasetSpec("voc:"))
    with pytest.raises(ImageSizeError, match="says 40 x 20, the image is 20 x 10: resized"):
        read_image(listing.root / listing.rows[0].path)


def test_voc_counts_from_one(rows_of_voc):
    """The first pixel is 1, and the last one belongs to the box."""
    part = "<part><name>ear</name><bndbox><xmin>5</xmin></bndbox></part>"
    text = f"<annotation><filename>a.png</filename><object>{part}<name>cat</name>{BOX}</object></annotation>"
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
def test_a_hostile_voc_file_is_told(text, rows_of_voc):
    """Entities are not read."""
    (row,) = rows_of_voc(text)
    assert row.problem[1] == "unreadable"
