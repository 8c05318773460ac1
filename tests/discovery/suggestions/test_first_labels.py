"""The first labels, where no image has one."""

import pytest

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.discovery.suggestions.first_labels import suggest_without_index
from lmm_classifier.discovery.suggestions.options import SuggestionOptions
from tests.helpers.datasets import draw_dataset, offline_config


def test_distinct_images_come_first(tmp_path):
    """Of drawn labels with copies; files that cannot be read are named."""
    folder = draw_dataset(tmp_path / "new", count=3, size=48)
    (folder / "broken.png").write_bytes(b"no image")
    data = (folder / "stripes/00.png").read_bytes()
    for number in range(4):
        (folder / f"copy{number}.png").write_bytes(data)
    config = offline_config(tmp_path / "none")
    found = suggest_without_index(folder, config, SuggestionOptions(count=100))
    assert (found.images, found.found, found.index_version, found.stopping) == (16, 17, None, None)
    copies = [each for each in found.suggestions if "copy" in each.path or each.path.endswith("stripes/00.png")]
    assert sum(each.gain > 1e-3 for each in copies) == 1
    assert [(file.path, file.failed) for file in found.skipped] == [(str(folder / "broken.png"), True)]
    again = suggest_without_index(sorted(folder.rglob("*.png"), reverse=True), config, SuggestionOptions(count=100))
    assert [each.path for each in again.suggestions] == [each.path for each in found.suggestions]


@pytest.mark.parametrize("count", [1, 2])
def test_hardly_any_image(tmp_path, count):
    """Each is suggested."""
    folder = draw_dataset(tmp_path / "new", ["stripes"], count=count, size=48)
    found = suggest_without_index(folder, offline_config(tmp_path / "none"))
    assert len(found.suggestions) == count


def test_no_image(tmp_path):
    """A folder without an image is refused; one whose images are all broken gives no suggestion."""
    (tmp_path / "new").mkdir()
    config = offline_config(tmp_path / "none")
    with pytest.raises(DatasetError, match="expected image files"):
        suggest_without_index(tmp_path / "new", config)
    (tmp_path / "new/broken.png").write_bytes(b"no image")
    assert suggest_without_index(tmp_path / "new", config).suggestions == []
