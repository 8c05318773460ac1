"""Copies of images are found by their pixels: saved again, resized, cropped, mirrored; nothing else is."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.near_copies import CONFIRMED, KINDS, SETS, copy_of, false_pairs, plant
from lmm_classifier.data import near_copies
from lmm_classifier.data.image_folder import scan_image_folder
from lmm_classifier.data.images import ImageLimits
from lmm_classifier.data.near_copies import CopyFinder
from tests.helpers.datasets import draw_dataset


def copies(files):
    """Return the pairs of files that are copies, and the finder."""
    finder = CopyFinder(files, ImageLimits(), 1)
    return finder.copies(finder.candidates()), finder


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Drawn images of four labels, and an unreadable file."""
    root = tmp_path_factory.mktemp("copies")
    draw_dataset(root / "dataset", count=3, size=96)
    (root / "dataset" / "bad.png").write_bytes(b"no image")
    return sorted((root / "dataset").rglob("*.png"))


def test_different_images_are_no_copies(originals):
    """Drawn patterns of the same kind are similar, and no copies; a file that is no image has none."""
    pairs, finder = copies(originals)
    assert pairs == []
    assert [path.name for path, readable in zip(originals, finder.readable) if not readable] == ["bad.png"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_copy_is_found(originals, tmp_path, kind):
    """A copy of one image per label is paired with its original alone; of the fine patterns one may be missed."""
    chosen = [number for number, path in enumerate(originals) if path.name == "02.png"]
    files = list(originals)
    for number in chosen:
        with Image.open(originals[number]) as image:
            copy, quality = copy_of(image.convert("RGB"), kind)
        files.append(tmp_path / f"{number}.jpg")
        copy.save(files[-1], quality=quality)
    pairs, _ = copies(files)
    planted = {(number, len(originals) + position) for position, number in enumerate(chosen)}
    assert {(pair.first, pair.second) for pair in pairs} <= planted
    assert len(pairs) >= 3
    assert all(pair.mirrored == (kind == "mirrored") for pair in pairs)
    assert all(0.6 <= pair.agreement <= 1 for pair in pairs)


def test_the_same_shape_in_another_color_is_no_copy(originals, tmp_path):
    """The colors must agree, too."""
    with Image.open(originals[5]) as image:
        red, green, blue = image.convert("RGB").split()
    Image.merge("RGB", (blue, red, green)).save(tmp_path / "other.png")
    assert copies([*originals, tmp_path / "other.png"])[0] == []


@pytest.mark.parametrize("files", [0, 1])
def test_nothing_to_compare(originals, files):
    """No file, or one, has no copies."""
    assert copies(originals[:files])[0] == []


def test_a_file_that_vanishes_meanwhile_has_no_copies(originals, tmp_path):
    """It is read twice; the second time it may be gone."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(originals[1].read_bytes())
    finder = CopyFinder([*originals[2:], tmp_path / "a.png", tmp_path / "b.png"], ImageLimits(), 1)
    candidates = finder.candidates()
    assert len(finder.copies(candidates)) == 1
    finder = CopyFinder([*originals[2:], tmp_path / "a.png", tmp_path / "b.png"], ImageLimits(), 1)
    (tmp_path / "b.png").unlink()
    assert finder.copies(candidates) == []


@pytest.mark.long
@pytest.mark.parametrize("name", SETS)
def test_planted_copies_of_photographs(shared, tmp_path, name):
    """Of 500 at least 95 % are found, of each kind 90 %; at most one pair of 1,000 images is false."""
    source = shared / "data" / SETS[name]
    planted = plant(source, tmp_path)
    paths = [example.path for example in scan_image_folder(source).examples]
    files = [*(source / path for path in paths), *(tmp_path / path for path in planted)]
    names = [*paths, *planted]
    pairs = {frozenset((names[pair.first], names[pair.second])) for pair in copies(files)[0]}
    found = {path: frozenset((path, original)) in pairs for path, original in planted.items()}
    assert np.mean(list(found.values())) >= 0.95
    for kind in KINDS:
        assert np.mean([value for path, value in found.items() if kind.replace(" ", "-") in path]) >= 0.9
    assert len(false_pairs(name, pairs, set(planted))) <= len(paths) / 1000


def test_confirmed_copies_are_pairs_of_the_sets():
    """The list names each set."""
    confirmed = json.loads(CONFIRMED.read_text(encoding="utf-8"))
    assert set(confirmed) == set(SETS)
    assert all(len(set(pair)) == 2 for pairs in confirmed.values() for pair in pairs)


def test_of_very_many_pairs_those_with_the_most_similar_outlines_are_compared(originals, tmp_path, monkeypatch):
    """An exact copy is among them; the limit bounds the time."""
    (tmp_path / "copy.png").write_bytes(originals[1].read_bytes())
    files = [*originals, tmp_path / "copy.png"]
    finder, every_pair = CopyFinder(files, ImageLimits(), 1), np.argwhere(np.triu(np.ones((len(files),) * 2), 1))
    everything = finder.copies(every_pair)
    assert [(pair.first, pair.second) for pair in everything] == [(1, len(files) - 1)]
    chosen, choose = [], near_copies.chance_limit
    monkeypatch.setattr(near_copies, "MOST_PAIRS", 3)
    monkeypatch.setattr(
        near_copies, "chance_limit", lambda pairs, *rest: chosen.append(pairs.tolist()) or choose(pairs, *rest)
    )
    assert finder.copies(every_pair) == everything
    assert [1, len(files) - 1] in chosen[0]
    assert len(chosen[0]) == 3
