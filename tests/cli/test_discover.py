"""`discover` proposes groups, writes them in three formats and to a page, and copies them so that they get a name."""

import json

import pytest

from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset with its index, and new images, also of two labels that it does not have."""
    root = tmp_path_factory.mktemp("discover")
    draw_dataset(root / "dataset", count=8, size=48)
    draw_dataset(root / "new", count=2, seed=1, size=48)
    draw_dataset(root / "new", ["argyle", "camouflage"], count=9, seed=1, size=48)
    run("build", "dataset", "--config", OFFLINE, cwd=root)
    return root


def discover(folder, *arguments, code=0):
    return run("discover", "new", "--config", OFFLINE, *arguments, cwd=folder, code=code)


@pytest.mark.long
def test_formats_tell_the_same(folder):
    """A table, one JSON object, and one line for each group."""
    values = json.loads(discover(folder, "--groups", "2", "--format", "json").stdout)
    assert values["images"] == 26
    assert values["groups"]
    lines = [json.loads(line) for line in discover(folder, "--groups", "2", "--format", "jsonl").stdout.splitlines()]
    assert [line["kind"] for line in lines if line["kind"] != "tested_group"] == [
        "summary",
        *["group"] * len(values["groups"]),
        "remainder",
    ]
    assert [line["members"] for line in lines if line["kind"] == "group"] == [
        group["members"] for group in values["groups"]
    ]
    done = discover(folder, "--groups", "2")
    assert f"group 1: {values['groups'][0]['size']} images, a look of" in done.stdout
    assert "26 images: about 2 new labels" in done.stdout
    assert "26 of 26 images took part" in done.stderr


def test_from_a_group_to_a_label(folder, tmp_path):
    """A group is copied, named by one command, and its images are then examples; one undo takes all of them back."""
    page = tmp_path / "page.html"
    done = discover(folder, "--groups", "2", "--copy-to", tmp_path / "groups", "--html", page)
    assert "lmm-classifier add --label NAME" in done.stderr
    assert "Proposed labels" in page.read_text(encoding="utf-8")
    group = tmp_path / "groups/group-1"
    size = len(list(group.glob("*.png")))
    assert size >= 5
    run("add", group, "--label", "new_label", "--config", OFFLINE, cwd=folder)
    after = json.loads(run("info", "--json", "--config", OFFLINE, cwd=folder).stdout)
    assert after["labels"]["new_label"] == size
    again = json.loads(discover(folder, "--format", "json").stdout)
    assert again["labeled"] == size
    run("undo", "--config", OFFLINE, cwd=folder)
    assert "new_label" not in json.loads(run("info", "--json", "--config", OFFLINE, cwd=folder).stdout)["labels"]


def test_nothing_new(folder, tmp_path):
    """It is said, and no group is made up; images that the index holds are left out."""
    done = run("discover", "dataset", "--config", OFFLINE, "--copy-to", tmp_path / "groups", cwd=folder)
    assert "No new label is proposed among 0 images." in done.stdout
    assert "0 of 32 images took part; 32 are in the index already" in done.stderr
    assert "add --label" not in done.stderr


def test_what_cannot_be_used_is_told(folder, tmp_path):
    """A broken file ends with 3; a page where nothing can be written is refused before a long run."""
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed/broken.png").write_bytes(b"no image")
    done = run("discover", folder / "new", tmp_path / "mixed", "--config", OFFLINE, cwd=folder, code=3)
    assert "broken.png" in done.stderr
    assert "does not exist" in discover(folder, "--html", tmp_path / "none/page.html", code=1).stderr
    discover(folder, "--groups", "0", code=2)
