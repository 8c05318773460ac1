"""A build or a sync never drops most of an index without being asked."""

import shutil

import numpy as np
import pytest

from lmm_classifier.core.errors import ReplacementError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor, sync_index
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.vector_index import Index
from tests.helpers.command_line import OFFLINE, run
from tests.helpers.datasets import draw_dataset, offline_config

COUNT = 24  # images of the first dataset


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("replacement")
    draw_dataset(root / "one", count=6, size=32)
    draw_dataset(root / "two", count=6, seed=1, size=32)  # other images of the same names
    for name in ("index", "index.npz"):
        build(root / "one", root / name)
    return root


@pytest.fixture
def place(original, tmp_path):
    return shutil.copytree(original, tmp_path / "place")


@pytest.fixture
def index(original, tmp_path):
    return shutil.copytree(original / "index", tmp_path / "index")


def build(dataset, output, **options):
    return build_index_from_directory(dataset, output, config=offline_config(output), **options)


def contents(index):
    opened = Index.open(index).contents
    return opened.manifest.image_root, list(zip(opened.paths, opened.hashes))


@pytest.mark.long
@pytest.mark.parametrize("name", ["index", "index.npz"])
def test_a_build_of_another_dataset_into_an_index_is_refused(place, original, name):
    """The message names both folders; `replace` allows it."""
    before = contents(place / name)
    with pytest.raises(ReplacementError) as refusal:
        build(place / "two", place / name)
    for text in (str(original / "one"), str(place / "two"), "Nothing was changed", "sync"):
        assert text in str(refusal.value)
    assert contents(place / name) == before
    assert build(place / "two", place / name, replace=True).total == COUNT
    assert contents(place / name)[0] == str(place / "two")


@pytest.mark.long
def test_a_build_into_an_unfinished_index_of_another_dataset_is_refused(original, tmp_path):
    """What was encoded so far would be dropped."""

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(original / "one", tmp_path / "index", progress=stop)
    with pytest.raises(ReplacementError, match="was built from"):
        build(original / "two", tmp_path / "index")
    assert build(original / "one", tmp_path / "index").total == COUNT


def test_the_same_folder_may_be_named_in_another_way(original, index, tmp_path, monkeypatch):
    """Through a link, or relative to the current folder."""
    (tmp_path / "link").symlink_to(original / "one")
    monkeypatch.chdir(original)
    for name in (tmp_path / "link", "one", "two/../one"):
        assert not build(name, index).changes.any


def test_a_moved_dataset_has_a_way_on(place, index):
    """The build says which: a sync keeps every image, and then the build is one of the same dataset."""
    moved = (place / "one").rename(place / "elsewhere")
    with pytest.raises(ReplacementError, match=r"dataset moved, run `lmm-classifier sync .* --index .*`: it keeps"):
        build(moved, index)
    report = sync_index(index, moved, offline_config(index))
    assert (report.changes.any, report.changes.encoded, report.total) == (False, 0, COUNT)
    assert not build(moved, index).changes.any


def test_a_sync_that_would_lose_most_images_is_refused(place):
    """As if a disk were not mounted. Nothing changes, and nothing counts as interrupted."""
    index = place / "index"
    for label in ("stripes", "gingham", "polka_dots"):
        shutil.rmtree(place / "one" / label)
    before = contents(index)
    with pytest.raises(ReplacementError, match="18 of the 24 images"):
        sync_index(index, place / "one", offline_config(index))
    assert contents(index) == before
    assert not any("interrupted" in finding.what for finding in check_index(index))
    report = sync_index(index, place / "one", offline_config(index), replace=True)
    assert len(report.changes.removed) == 18
    assert [text for text in report.warnings if "was removed, because none" in text] != []


def test_a_file_that_would_lose_most_images_is_not_overwritten(original, tmp_path):
    """An `.npz` file is built anew each time, so nothing else would remain of them."""
    dataset = shutil.copytree(original / "one", tmp_path / "one")
    build(dataset, tmp_path / "index.npz")
    for label in ("stripes", "gingham", "polka_dots"):
        shutil.rmtree(dataset / label)
    with pytest.raises(ReplacementError, match="18 of the 24 images"):
        build(dataset, tmp_path / "index.npz")
    assert build(dataset, tmp_path / "index.npz", replace=True).total == 6


def test_images_with_the_same_names_do_not_hide_the_loss(place):
    """Replaced images count as lost: their contents are gone."""
    for file in (place / "two").rglob("*.png"):
        shutil.copy(file, place / "one" / file.relative_to(place / "two"))
    with pytest.raises(ReplacementError, match="24 of the 24 images"):
        sync_index(place / "index", place / "one", offline_config(place / "index"))


def test_images_added_by_hand_survive_a_replacement(place):
    """They belong to the index, not to the dataset."""
    index = place / "index"
    added = IndexEditor(index, offline_config(index)).add([draw("argyle", np.random.default_rng(0), 32)], "argyle")
    build(place / "two", index, replace=True)
    assert added.changes.added[0] in Index.open(index).contents.paths


def test_the_command_line_names_its_option(place):
    """Library errors do not name it."""
    index, two = str(place / "index"), str(place / "two")
    command = ("build", two, "--output", index, "--config", OFFLINE)
    assert "--replace" in run(*command, code=1).stderr
    run(*command, "--replace")


@pytest.mark.parametrize("kind", ["arrays", "damaged"])
def test_a_file_of_another_program_is_not_replaced(place, kind):
    """A name that ends in `.npz` may be one of somebody's arrays; a damaged index needs `replace` too."""
    output = place / "index.npz"
    if kind == "arrays":
        np.savez(output, measured=np.arange(3))
    else:
        output.write_bytes(output.read_bytes()[:-50])
    before = output.read_bytes()
    with pytest.raises(ReplacementError, match="exists and is not a readable index .* Nothing was changed"):
        build(place / "one", output)
    assert output.read_bytes() == before
    assert build(place / "one", output, replace=True).total == COUNT
