"""`add` adds images of a label; adding one twice changes nothing."""

import json
import zipfile

import pytest

from lmm_classifier.index.build.editor import IndexEditor
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
