"""Calibrations never stand on images that the index holds, nor on near copies of them."""

import shutil

import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import CalibrationRequest, calibrate_index
from lmm_classifier.pipeline.near_copies import encode_unseen
from tests.helpers.datasets import draw_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A dataset with its index, and new images with an image of the dataset and one that was saved again."""
    root = tmp_path_factory.mktemp("seen")
    draw_dataset(root / "dataset", count=4, size=96)
    draw_dataset(root / "new", count=1, seed=1, size=96)
    shutil.copy(root / "dataset" / "stripes" / "00.png", root / "new" / "stripes" / "same.png")
    with Image.open(root / "dataset" / "polka_dots" / "00.png") as image:
        image.convert("RGB").save(root / "new" / "polka_dots" / "again.jpg", quality=70)
    build_index_from_directory(root / "dataset", root / "index.npz", config=PipelineConfig.offline())
    return root


def test_unseen_images_keep_their_positions(place):
    """The copies are left out and counted."""
    config, index = PipelineConfig.offline(), Index.open(place / "index.npz")
    files = sorted((place / "new").rglob("*.*"))
    unseen = encode_unseen([index], config, place / "index.npz", files, str(place / "new"))
    assert [files[position].name for position in unseen.positions] == ["00.png"] * 4
    (vectors,) = unseen.vectors
    assert vectors.shape == (4, index.fingerprint.dim)
    words = "2 images are left out, because the index holds them (1) or near copies of them (1)"
    assert unseen.notes == (f"{place / 'new'}: {words}",)


@pytest.mark.long
def test_copies_among_the_new_images_count_once(place, tmp_path):
    """A folder with each image several times is no larger sample, so it gives no stronger guarantee."""
    config, index = PipelineConfig.offline(), Index.open(place / "index.npz")
    folder = draw_dataset(tmp_path / "new", count=2, seed=1, size=96)
    for file in sorted(folder.rglob("*.png")):
        shutil.copy(file, file.with_name(f"{file.stem}-same.png"))
        with Image.open(file) as image:
            image.convert("RGB").save(file.with_name(f"{file.stem}-saved.jpg"), quality=70)
    files = sorted(folder.rglob("*.*"))
    unseen = encode_unseen([index], config, place / "index.npz", files, str(folder))
    assert len(unseen.positions) == 8
    assert unseen.notes == (f"{folder}: 16 images are left out, because they are copies of others in it",)


@pytest.mark.parametrize("key", ["holdout", "target_images"])
def test_a_calibration_says_what_it_left_out(place, tmp_path, key):
    """A holdout and images from production alike."""
    path = shutil.copy(place / "index.npz", tmp_path / "i.npz")
    report = calibrate_index(path, PipelineConfig.offline(), CalibrationRequest(**{key: place / "new"}))
    assert any("2 images are left out" in note for note in report.notes)


@pytest.mark.long
@pytest.mark.parametrize("key", ["holdout", "target_images"])
def test_the_dataset_itself_is_refused(place, tmp_path, key):
    """No image remains; the index is unchanged."""
    path = shutil.copy(place / "index.npz", tmp_path / "i.npz")
    before = path.read_bytes()
    with pytest.raises(CalibrationError, match="16 images are left out, because the index holds them.*none remains"):
        calibrate_index(path, PipelineConfig.offline(), CalibrationRequest(**{key: place / "dataset"}))
    assert path.read_bytes() == before
