"""Files of boxes that are given as if they were images."""

import pytest
from PIL import Image

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.box_hint import box_hint
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source, is_one_image, open_dataset


def file(path):
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    return path


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("annotations/instances_train.json", "coco:{}/annotations/instances_train.json@IMAGES"),
        ("_annotations.coco.json", "coco:{}/_annotations.coco.json@IMAGES"),
        ("Annotations/a.xml", "voc:{}/Annotations@IMAGES"),
    ],
)
def test_a_folder_with_boxes(name, source, tmp_path):
    """The usual places are known; a dataset of folders is used, with a warning."""
    assert box_hint(tmp_path) == ""
    file(tmp_path / name)
    hint = f"For boxes: {source.format(tmp_path)}."
    assert box_hint(tmp_path) == hint
    with pytest.raises(DatasetError, match=hint):
        open_dataset(DatasetSpec(str(tmp_path)), ImagesConfig())
    (tmp_path / "val").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "val/a.png")
    assert hint in "\n".join(open_dataset(DatasetSpec(str(tmp_path)), ImagesConfig()).warnings)


@pytest.mark.parametrize("name", ["x.json", "x.XML"])
def test_a_file_of_boxes(name, tmp_path):
    """It is no image and no folder, whatever is chosen of it."""
    path = file(tmp_path / name)
    assert not is_one_image(str(path))
    for read, choices in ((open_dataset, {}), (open_dataset, {"label_from": "2"}), (find_in_source, {})):
        with pytest.raises(DatasetError, match=r"For boxes: (coco|voc):.*@IMAGES"):
            read(DatasetSpec(str(path), **choices), ImagesConfig())
