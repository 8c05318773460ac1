"""A dataset is listed as a stream, and the result is that of the readers."""

import tracemalloc

import pytest

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset
from lmm_classifier.distributed.listing import DatasetListing, SkippedFiles
from tests.helpers import dataset_sources
from tests.helpers.datasets import draw_dataset
from tests.helpers.remote_sources import s3_folder, s3_server, s3_shards

IMAGES = PipelineConfig.offline().images
SOURCES = ("folder", "levels", "zipped", "tar", "webdataset", "shards", "csv_manifest", "parquet_images")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """PNG files by their names."""
    root = draw_dataset(tmp_path_factory.mktemp("drawn"), count=3, size=24)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.png"))}


def compare(spec):
    """Check a listing against the reader of the source."""
    dataset, listing = open_dataset(spec, IMAGES), DatasetListing(spec, IMAGES)
    files = list(listing.files())
    assert sorted((file.path, file.label) for file in files) == [(e.path, e.label) for e in dataset.examples]
    assert sorted(map(str, listing.skipped.first)) == sorted(map(str, dataset.skipped))
    assert sorted(listing.warnings()) == sorted(dataset.warnings)
    assert listing.source == dataset.source
    for file in files:
        status = (dataset.root / file.path).stat()
        assert (file.size, file.modified, file.changed) == (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return files


@pytest.mark.parametrize("source", SOURCES)
def test_a_listing_has_what_the_reader_finds(source, tmp_path, drawn):
    """The same images, labels, skipped files and warnings, and the status of each file."""
    assert len(compare(getattr(dataset_sources, source)(tmp_path, drawn))) == 12


@pytest.mark.long
@pytest.mark.parametrize("source", [s3_folder, s3_shards])
def test_a_listing_of_a_bucket_has_what_the_reader_finds(source, tmp_path, drawn, monkeypatch):
    """By folders and by shards."""
    pytest.importorskip("moto", reason="moto is not installed")
    with s3_server(tmp_path, monkeypatch) as url:
        assert len(compare(source(url, tmp_path, drawn))) == 12


def test_a_folder_is_listed_in_the_order_of_its_ids(tmp_path, drawn):
    """A folder that is next to files comes where its files belong."""
    root = dataset_sources.write_files(tmp_path / "images", drawn)
    for name in ("stripes/00/1.png", "stripes/00.a/1.png", "stripes/00-b/1.png"):
        (root / name).parent.mkdir()
        (root / name).write_bytes(drawn["stripes/00.png"])
    paths = [file.path for file in compare(DatasetSpec(str(root)))]
    assert paths == sorted(paths)
    assert len(paths) == 15


def test_odd_entries_of_a_folder_are_told_as_by_the_reader(tmp_path, drawn):
    """Links, loose images, hidden folders, empty labels, and a label in two Unicode forms."""
    root = dataset_sources.write_files(tmp_path / "images", drawn)
    (root / "loose.png").write_bytes(drawn["stripes/00.png"])
    (root / ".hidden").mkdir()
    (root / "empty").mkdir()
    for name in ("caf\u00e9", "cafe\u0301"):
        (root / name).mkdir()
        (root / name / "1.png").write_bytes(drawn["stripes/00.png"])
    (root / "link").symlink_to(root / "stripes")
    compare(DatasetSpec(str(root)))


def test_an_empty_source_is_an_error(tmp_path):
    """With the message that a build has."""
    (tmp_path / "images").mkdir()
    spec = DatasetSpec(str(tmp_path / "images"))
    with pytest.raises(DatasetError) as expected:
        open_dataset(spec, IMAGES)
    with pytest.raises(DatasetError) as found:
        list(DatasetListing(spec, IMAGES).files())
    assert str(found.value) == str(expected.value)


def test_a_split_that_is_not_there_is_an_error(tmp_path, drawn):
    """For several shards too, which are listed one by one."""
    spec = dataset_sources.shards(tmp_path, drawn)
    spec = DatasetSpec(spec.source, split_from="split", split="val")
    with pytest.raises(DatasetError, match="no labeled image of the split 'val'"):
        list(DatasetListing(spec, IMAGES).files())


def test_the_label_of_unknown_images_is_refused(tmp_path, drawn):
    """As soon as it is seen."""
    spec = dataset_sources.folder(tmp_path, {f"unknown/{name[-6:]}": data for name, data in drawn.items()})
    with pytest.raises(DatasetError, match="unknown_label"):
        list(DatasetListing(spec, IMAGES).files())


def test_skipped_files_are_counted_beyond_those_that_are_kept(monkeypatch):
    """Files that should be images take the places of others."""
    monkeypatch.setattr("lmm_classifier.distributed.listing._KEPT", 3)
    skipped = SkippedFiles()
    for number in range(5):
        skipped.add(Skipped(f"{number}.txt", "not an image", "ignored"))
    skipped.add(Skipped("cut.png", "damaged", "corrupt"))
    assert [file.path for file in skipped.first] == ["0.txt", "1.txt", "cut.png"]
    assert (skipped.total, skipped.failed, skipped.counts["ignored"]) == (6, 1, 5)


@pytest.mark.long
def test_the_memory_of_a_listing_does_not_grow_with_the_folders(tmp_path):
    """Ten times the folders: the same peak within half."""
    for number in range(400):
        folder = tmp_path / "images" / f"label {number:03}"
        folder.mkdir(parents=True)
        for image in range(50):
            (folder / f"{image:04}.png").write_bytes(b"")
    peaks = []
    for folders in (40, 400):
        spec = DatasetSpec(str(tmp_path / ("images" if folders == 400 else "few")))
        if folders == 40:
            (tmp_path / "few").mkdir()
            for path in sorted((tmp_path / "images").iterdir())[:40]:
                path.rename(tmp_path / "few" / path.name)
        tracemalloc.start()
        listing = DatasetListing(spec, IMAGES)
        assert sum(1 for _ in listing.files()) == (2000 if folders == 40 else 18_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 200_000
