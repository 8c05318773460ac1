"""Images of a run: files in a folder under their relative names, and uploaded bytes under their hash."""

import shutil
import time

import pytest

from lmm_classifier.core.errors import DatasetError, ReviewError
from lmm_classifier.core.files import content_hash
from lmm_classifier.review.images import FolderImages, UploadedFiles, file_of_item
from tests.helpers.datasets import draw_dataset


def test_a_folder(tmp_path):
    """The same order each time; a run that resumes finds its items by these names."""
    draw_dataset(tmp_path / "new", ("stripes",), count=2, size=16)
    images = FolderImages(tmp_path / "new")
    names = [image.name for image in images]
    assert sorted(names) == ["stripes/00.png", "stripes/01.png"]
    assert [image.name for image in FolderImages(tmp_path / "new")] == names
    assert len(images) == 2
    described = images.describe()
    digest = content_hash(tmp_path / "new/stripes/00.png")
    assert file_of_item(described, tmp_path, "stripes/00.png", digest) == tmp_path / "new/stripes/00.png"
    with pytest.raises(ReviewError, match="changed"):
        file_of_item(described, tmp_path, "stripes/01.png", digest)
    with pytest.raises(ReviewError, match="cannot be read"):
        file_of_item(described, tmp_path, "stripes/02.png", digest)
    with pytest.raises(DatasetError):
        FolderImages(tmp_path / "missing")


def test_an_archive_and_a_table(tmp_path):
    """Their images have the same names and contents as those of the folder, and a changed one is noticed."""
    root = draw_dataset(tmp_path / "new", ("stripes",), count=2, size=16)
    shutil.make_archive(str(tmp_path / "new"), "zip", root)
    (tmp_path / "new.csv").write_text("path,label\nnew/stripes/00.png,stripes\nnew/stripes/01.png,stripes\n")
    digest = content_hash(root / "stripes/00.png")
    for file, name in (("new.zip", "stripes/00.png"), ("new.csv", "new/stripes/00.png")):
        images = FolderImages(tmp_path / file)
        assert name in {image.name for image in images}
        assert len(images) == 2
        found = file_of_item(images.describe(), tmp_path, name, digest)
        assert found.read_bytes() == (root / "stripes/00.png").read_bytes()
        with pytest.raises(ReviewError, match="changed"):
            file_of_item(images.describe(), tmp_path, name, "0" * 64)
        with pytest.raises(ReviewError, match="cannot be read"):
            file_of_item(images.describe(), tmp_path, "stripes/02.png", digest)
        (tmp_path / file).rename(tmp_path / f"gone-{file}")
        with pytest.raises(DatasetError):
            FolderImages(tmp_path / file)
    with pytest.raises(ReviewError, match="cannot be read"):
        file_of_item({"kind": "folder", "folder": str(tmp_path / "new.zip")}, tmp_path, "stripes/00.png", digest)


def test_uploads(tmp_path):
    """The same bytes are one file; no name leads out of the folder; unneeded files are found later."""
    uploads = UploadedFiles(tmp_path)
    first, second, other = (uploads.received(*one) for one in (("../../a", b"one"), ("b", b"one"), ("", b"two")))
    assert not first.file.exists()
    with uploads.alone():
        for image in (first, second, other):
            uploads.keep(image)
    assert first.file == second.file != other.file
    assert [file.parent for file in (first.file, other.file)] == [tmp_path / "uploads"] * 2
    assert first.file.read_bytes() == b"one"
    assert sorted(file.name for file in (tmp_path / "uploads").iterdir()) == sorted({first.file.name, other.file.name})
    digest = content_hash(first.file)
    assert file_of_item({"kind": "upload"}, tmp_path, "../../a", digest) == first.file
    now = time.time()
    assert uploads.others((), now) == []
    assert uploads.others({digest}, now + 2 * 3600) == [other.file]
    uploads.remove([digest, "0" * 64])
    assert not first.file.exists()
    assert other.file.is_file()
    assert UploadedFiles(tmp_path / "missing").others((), now) == []
