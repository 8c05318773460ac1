"""`add` adds images of a label; adding one twice changes nothing."""

import json
import zipfile

import numpy as np
import pytest

from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.editor import IndexEditor
from tests.helpers import dataset_sources
from tests.helpers.command_line import OFFLINE, run


def test_an_image_is_added_once(editable):
    """The JSON has its id and what became stale; an image under another label is refused with advice."""
    common = ["--config", OFFLINE]
    report = json.loads(run("add", "photo.png", "--label", "argyle", "--json", *common, cwd=editable).stdout)
    (added,) = report["changes"]["added"]
    assert added.endswith("-photo.png")
    assert report["stale"]
    assert "not done: photo.png" in run("add", "photo.png", "--label", "argyle", *common, cwd=editable).stdout
    other_label = run("add", "photo.png", "--label", "x", *common, cwd=editable, code=3)
    assert "relabel" in other_label.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty", "--label", "x"], "No image files in empty"),
        (["photo.png", "--label", ""], "is no label"),
        (["photo.png", "--label", "x", "--index", "dataset"], "not a durable index"),
        (["photo.png", "--label", "x", "--set", "encoder.backend=onnx"], "set encoder.backend to 'descriptor'"),
    ],
)
def test_what_cannot_be_added(editable, arguments, message):
    """One line says what was expected."""
    (editable / "empty").mkdir()
    done = run("add", *arguments, "--config", OFFLINE, cwd=editable, code=1)
    assert message in " ".join(done.stderr.split())


def test_all_images_of_an_archive_get_the_label(editable):
    """The members of a .zip file are copied into the index, and one that is no image is listed."""
    with zipfile.ZipFile(editable / "new.zip", "w") as archive:
        archive.write(editable / "photo.png", "any/photo.png")
        archive.writestr("any/broken.png", b"no image")
    done = run("add", "new.zip", "--label", "argyle", cwd=editable, code=3)
    assert "broken.png" in done.stdout
    (added,) = IndexEditor(editable / "index").examples_of("argyle")
    assert added.endswith("-photo.png")


def boxes(folder):
    """Two boxes of new images, in a COCO file."""
    files = {}
    for label in ("argyle", "floral"):
        draw(label, np.random.default_rng(1), 32).save(folder / "drawn.png")
        files[f"{label}/0.png"] = (folder / "drawn.png").read_bytes()
    return dataset_sources.coco(folder, files).source


def test_a_labeled_dataset_brings_its_labels(editable):
    """Which is how two files of boxes are joined; with a label for all, a warning names the file."""
    source = boxes(editable)
    report = json.loads(run("add", source, "--json", cwd=editable).stdout)
    assert len(report["changes"]["added"]) == 2
    editor = IndexEditor(editable / "index")
    assert [len(editor.examples_of(label)) for label in ("argyle", "floral")] == [1, 1]
    done = run("add", source, "--label", "other", cwd=editable, code=3)
    assert "get the label 'other', not their own: leave --label out" in done.stderr


def test_an_image_without_a_label(editable):
    """Only a dataset has one by itself."""
    assert "--label is missing: photo.png" in run("add", "photo.png", cwd=editable, code=2).stderr
    done = run("add", "dataset", "--label", "x", "--label-from", "1", cwd=editable, code=2)
    assert "--label and --label-from exclude" in done.stderr
