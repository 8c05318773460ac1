"""The demo draws its images into a folder of its own, and never removes files of others."""

import pytest

from lmm_classifier.cli import demo_data
from lmm_classifier.core.errors import DatasetError


@pytest.fixture
def few_images(monkeypatch):
    monkeypatch.setattr(demo_data, "KNOWN", ("houndstooth", "polka_dots"))
    monkeypatch.setattr(demo_data, "UNKNOWN", ("camouflage",))
    monkeypatch.setattr(demo_data, "_EXAMPLES", 2)
    monkeypatch.setattr(demo_data, "_NEW", 1)


def test_another_seed_draws_other_images_into_the_same_folder(few_images, tmp_path):
    """One example is filed under a wrong label on purpose; a former demo is replaced."""
    dataset, new = demo_data.draw_demo_data(tmp_path / "demo", 0)
    drawn = {path.relative_to(dataset): path.read_bytes() for path in sorted(dataset.rglob("*.jpg"))}
    assert [str(path) for path in drawn if demo_data.is_planted(str(path))] == ["polka_dots/planted.jpg"]
    assert len(drawn) == 5
    assert len(list(new.rglob("*.jpg"))) == 3
    demo_data.draw_demo_data(tmp_path / "demo", 0)
    assert {path: (dataset / path).read_bytes() for path in drawn} == drawn
    demo_data.draw_demo_data(tmp_path / "demo", 1)
    assert {path: (dataset / path).read_bytes() for path in drawn} != drawn


def test_a_folder_with_other_files_is_refused(few_images, tmp_path):
    """Nothing in it is changed; an empty folder is taken."""
    (tmp_path / "own").mkdir()
    demo_data.draw_demo_data(tmp_path / "own", 0)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "letter.txt").write_text("x")
    with pytest.raises(DatasetError, match="Choose another folder"):
        demo_data.draw_demo_data(tmp_path / "files", 0)
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["letter.txt"]
