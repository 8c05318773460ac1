"""Commands take any dataset: build, sync, calibrate, evaluate, classify and add, of one specification."""

import json

import pytest

from tests.helpers.command_line import OFFLINE, run
from tests.helpers.dataset_sources import coco, csv_manifest, label_of, write_zip
from tests.helpers.datasets import draw_dataset

CONFIG = ["--config", OFFLINE]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = draw_dataset(tmp_path_factory.mktemp("drawn"), ("stripes", "gingham"), 5, size=48)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.png"))}


def test_the_commands_share_the_options(images, tmp_path):
    """A table is built from, calibrated by its groups, evaluated on, and moves."""
    csv_manifest(tmp_path, images)
    names = ["--image-from", "photo", "--label-from", "kind"]
    index = ["--output", "index"]
    run("build", "images.csv", *index, *names, "--group-from", "object", "--split", "train", *CONFIG, cwd=tmp_path)
    done = run("calibrate", "index", "--group-by", "column", *CONFIG, cwd=tmp_path)
    assert "held out with their group, of 5 groups" in done.stdout
    (tmp_path / "moved").mkdir()
    for name in ("images.csv", "files"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert "it does not exist" in run("sync", "--index", "index", *CONFIG, cwd=tmp_path, code=1).stderr
    run("sync", "moved/images.csv", "--index", "index", *CONFIG, cwd=tmp_path)
    dataset = json.loads(run("info", "index", "--json", cwd=tmp_path).stdout)["dataset"]
    assert dataset.startswith(f"{tmp_path}/moved/images.csv (label_from kind")
    done = run(
        *["evaluate", "moved/images.csv", "--index", "index", *names, "--leave-out-identical", "--json", "e.json"],
        *["--html", "e.html", *CONFIG],
        cwd=tmp_path,
    )
    assert "10 images of known labels" in done.stdout
    assert "no image: " not in (tmp_path / "e.html").read_text()


@pytest.mark.long
def test_classify_reads_archives_and_sorts_their_members(images, tmp_path):
    """Results name the archive and the member; a member is copied, but cannot be moved or linked."""
    write_zip(tmp_path / "new.zip", {**images, "notes.txt": b""})
    run("build", "new.zip", "--output", "index", *CONFIG, cwd=tmp_path)
    common = ["classify", "new.zip", "--index", "index", "--leave-out-identical", *CONFIG]
    done = run(*common, "--output", "results.jsonl", "--copy-to", "sorted", "--html", "page.html", cwd=tmp_path)
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {result["path"] for result in results} == {f"{tmp_path}/new.zip/{name}" for name in images}
    copied = sorted(path.read_bytes() for path in (tmp_path / "sorted").rglob("*.png"))
    assert copied == sorted(images.values()), done.stderr
    assert "no image: " not in (tmp_path / "page.html").read_text()
    again = run(*common, "--output", "results.jsonl", "--resume", "--copy-to", "sorted", cwd=tmp_path)
    assert "10 already there" in again.stderr
    linked = run(*common, "--link-to", "links", cwd=tmp_path, code=3)
    assert "can only be copied" in linked.stderr


@pytest.mark.long
def test_parts_of_images_are_classified_and_added(images, tmp_path):
    """A box is an image for every command; a copy of it is cut out."""
    spec = coco(tmp_path, images)
    run("build", spec.source, "--output", "index", *CONFIG, cwd=tmp_path)
    run("classify", spec.source, "--index", "index", "--copy-to", "sorted", *CONFIG, cwd=tmp_path)
    assert len([*(tmp_path / "sorted").rglob("*.png")]) == len(images)
    run("audit", "index", "--html", "audit.html", *CONFIG, cwd=tmp_path)
    labels = json.loads(run("info", "index", "--json", cwd=tmp_path).stdout)["labels"]
    assert labels == dict.fromkeys(sorted({label_of(name) for name in images}), 5)
    write_zip(tmp_path / "more.zip", {"x/1.png": b"no image", **draw(tmp_path)})
    run("add", "more.zip", "--label", "ogee", "--index", "index", *CONFIG, cwd=tmp_path, code=3)
    assert json.loads(run("info", "index", "--json", cwd=tmp_path).stdout)["labels"]["ogee"] == 3


def draw(folder):
    """Return images of one more label."""
    root = draw_dataset(folder / "more", ("ogee",), 3, size=48)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://user:hunter2secret@host/x.zip", "holds a user name or a password"),
        ("s3://bucket/x?versionId=1", "query"),
        ("zip://a::s3://bucket/x", "chain of URLs"),
        ("no/such/folder", "does not exist"),
        ("no-such.zip", "does not exist"),
        ("voc:here", "does not name the images"),
    ],
)
def test_a_source_that_cannot_be_used(source, message, tmp_path):
    """One line says why, and no secret is printed."""
    for command in (["build"], ["evaluate"], ["classify"]):
        if command == ["classify"] and source == "no/such/folder":
            continue  # the path of one image that cannot be read
        done = run(
            *command, source, *CONFIG, "--set", f"retrieval.index_path={tmp_path / 'index'}", code=1, cwd=tmp_path
        )
        assert message in " ".join(done.stderr.split()) or "There is no index" in done.stderr
        assert "hunter2secret" not in done.stderr + done.stdout
