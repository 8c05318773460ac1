"""Links are followed inside the folder, and into folders that are named; loops end."""

import pytest

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.image_folder import find_images, scan_image_folder


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def cache(tmp_path):
    """A dataset whose images are links into a cache, as git-annex, DVC and hub caches make them."""
    for number, label in enumerate(["a", "b"]):
        touch(tmp_path / "cache" / f"{number}f/x")
        (tmp_path / "dataset" / label).mkdir(parents=True)
        (tmp_path / "dataset" / label / "1.jpg").symlink_to(f"../../cache/{number}f/x")
    return tmp_path


def test_a_dataset_of_links_is_not_called_empty(cache):
    """The error counts the links, shows one, and names the setting; with it they are images."""
    with pytest.raises(DatasetError, match=r"2 links are not followed, such as a/1\.jpg.*images\.follow_links"):
        scan_image_folder(cache / "dataset")
    for named in (cache / "cache", cache):
        examples = scan_image_folder(cache / "dataset", [named]).examples
        assert [(example.path, example.label) for example in examples] == [("a/1.jpg", "a"), ("b/1.jpg", "b")]
    with pytest.raises(DatasetError, match="which is not a folder"):
        scan_image_folder(cache / "dataset", [cache / "missing"])


def test_content_that_was_not_fetched_is_named(cache):
    """git-annex leaves a link without a target."""
    (cache / "dataset/a/2.jpg").symlink_to("../../.git/annex/objects/gone")
    reasons = [file.reason for file in find_images(cache / "dataset", [cache]).skipped]
    assert reasons == ["a link without a target: git-annex has not fetched its content"]


def test_linked_folders(cache):
    """A folder of links to folders is a dataset; each folder is read once, so loops end."""
    root = cache / "linked"
    root.mkdir()
    touch(cache / "store/cats/1.jpg", cache / "store/dogs/1.jpg", cache / "elsewhere/1.jpg")
    for name, target in [("cat", "store/cats"), ("dog", "store/dogs"), ("kitten", "store/cats"), ("out", "elsewhere")]:
        (root / name).symlink_to(cache / target)
    (cache / "store/dogs/up").symlink_to(cache / "store")
    (cache / "store/dogs/self").symlink_to(cache / "store/dogs")
    (root / "me").symlink_to(root)
    dataset = scan_image_folder(root, [cache / "store"])
    found = [example.path for example in dataset.examples]
    assert found == ["cat/1.jpg", "dog/1.jpg"]
    kinds = {file.path: file.kind for file in dataset.skipped}
    assert kinds == {
        "kitten": "symlink",
        "me": "symlink",
        "out": "outside",
        "dog/self": "symlink",
        "dog/up/cats": "symlink",
        "dog/up/dogs": "symlink",
    }


def test_a_link_cannot_leave_by_a_similar_name(cache):
    """`cache-other` is not inside `cache`, and a link to a link counts by its end."""
    touch(cache / "cache-other/x.jpg")
    (cache / "dataset/a/out.jpg").symlink_to(cache / "cache-other/x.jpg")
    (cache / "cache/hop").symlink_to(cache / "cache-other/x.jpg")
    (cache / "dataset/a/hop.jpg").symlink_to(cache / "cache/hop")
    skipped = scan_image_folder(cache / "dataset", [cache / "cache"]).skipped
    assert [(file.path, file.kind) for file in skipped] == [("a/hop.jpg", "outside"), ("a/out.jpg", "outside")]
