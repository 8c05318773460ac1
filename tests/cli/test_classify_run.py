"""A run of `classify` over boxes, or without them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers import dataset_sources
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """A folder with an index of boxes, their file, and its images."""
    root = tmp_path_factory.mktemp("boxed")
    images = draw_dataset(root / "images", ["stripes", "gingham"], count=3, size=48)
    files = {path.relative_to(images).as_posix(): path.read_bytes() for path in images.rglob("*.png")}
    dataset_sources.coco(root, files)
    run("build", "coco:scenes.json@scenes", "--output", "index.npz", "--config", OFFLINE, cwd=root)
    return root


def classify(boxed, *arguments, code=0):
    return run("classify", *arguments, "--index", "index.npz", "--config", OFFLINE, cwd=boxed, code=code)


def test_whole_images_with_an_index_of_boxes(boxed):
    """One warning says that they need boxes too; with boxes there is none."""
    assert classify(boxed, "scenes").stderr.count("the examples of this index are boxes, and the images have none") == 1
    assert "warning" not in classify(boxed, "COCO:scenes.json@scenes").stderr


def test_boxes_of_a_detector_are_sorted_as_files(boxed, tmp_path):
    """They need no category, and each is cut out as it was classified."""
    values = json.loads((boxed / "scenes.json").read_text())
    values.pop("categories")
    for annotation in values["annotations"]:
        annotation.pop("category_id")
    (tmp_path / "found.json").write_text(json.dumps(values))
    done = classify(boxed, f"coco:{tmp_path / 'found.json'}@scenes", "--copy-to", tmp_path / "sorted")
    assert "6 copied" in done.stderr
    for path in (tmp_path / "sorted").rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (48, 48)
    assert len(list((tmp_path / "sorted").rglob("*.png"))) == 6


def test_results_go_back_to_their_annotations(boxed, tmp_path):
    """By the Python of the guide, as it is there."""
    guide = (Path(__file__).parents[2] / "docs/guides/datasets.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[-1]
    shutil.copytree(boxed / "scenes", tmp_path / "new")
    shutil.copy(boxed / "scenes.json", tmp_path / "detections.json")
    common = ["--index", boxed / "index.npz", "--config", OFFLINE, "--output", "results.jsonl"]
    common += ["--set", "retrieval.open_set_threshold=-1"]
    run("classify", "coco:detections.json@new", *common, cwd=tmp_path)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    categories = {10: "gingham", 11: "stripes"}
    annotations = json.loads((tmp_path / "detections.json").read_text())["annotations"]
    assert [row[0] for row in rows] == [str(annotation["id"]) for annotation in annotations]
    assert [row[2] for row in rows] == [categories[annotation["category_id"]] for annotation in annotations]


def test_what_boxes_cannot_be(boxed, tmp_path):
    """Label Studio needs addresses; that is said before anything is classified."""
    output = tmp_path / "tasks.json"
    done = classify(boxed, "coco:scenes.json@scenes", "--format", "label-studio", "--output", output, code=1)
    assert "Some of the images are boxes. Label Studio needs the URL" in done.stderr
    assert not output.exists()


def test_boxes_in_other_units_are_told(boxed, tmp_path):
    """Also where they are classified, not only where they are indexed."""
    values = json.loads((boxed / "scenes.json").read_text())
    for annotation in values["annotations"]:
        annotation["bbox"] = [number / 1000 for number in annotation["bbox"]]
    (tmp_path / "fractions.json").write_text(json.dumps(values))
    done = classify(boxed, f"coco:{tmp_path / 'fractions.json'}@scenes", code=3)  # most are the same pixel
    assert "are they fractions?" in done.stderr
