"""The contract of every source of a dataset: the same images give the same index as a folder of them."""

import asyncio
import sys

import numpy as np
import pytest

from lmm_classifier.core.errors import DatasetError, MissingExtraError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import decode, read_image
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.readers.crops import Crop
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source, open_dataset
from lmm_classifier.evaluation.audit import audit_index
from lmm_classifier.evaluation.evaluate import evaluate_folder
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.evaluation.reports.contact_sheet import write_contact_sheet
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.reference_images import ReferenceImages
from tests.helpers import dataset_sources, remote_sources
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.installed import is_installed

QUICK = ["zipped", "csv_manifest", "coco"]  # of each idea one in the default run
LOCAL = ["folder", "levels", "zipped", "stored_zip", "tar", "webdataset", "shards", "csv_manifest", "jsonl_manifest"]
LOCAL += ["coco", "voc"]
PARQUET = ["parquet_manifest", "parquet_images", "plain_parquet"]
HUB = ["hugging_face", "hugging_face_parquet"]
REMOTE = ["http_zip", "http_folder", "http_manifest"]
S3 = ["s3_folder", "s3_zip", "s3_shards", "s3_manifest"]
NEEDS = [(LOCAL, ()), (PARQUET, ["pyarrow"]), (HUB, ["datasets"]), (REMOTE, ["fsspec", "aiohttp"])]
NEEDS += [(S3, ["moto", "flask", "s3fs"])]


def needs(*libraries):
    """Return the mark that skips a test where a library is missing."""
    missing = [library for library in libraries if not is_installed(library)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def sources():
    """Return all kinds of sources, with the libraries that they need; most run with the long tests."""
    marked = []
    for names, libraries in NEEDS:
        skip = needs(*libraries)
        marked += [
            pytest.param(name, id=name, marks=[skip] if name in QUICK else [skip, pytest.mark.long]) for name in names
        ]
    return marked


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Four images of each of two labels, by `label/name.png`; two more for changes."""
    root = draw_dataset(tmp_path_factory.mktemp("drawn"), ("stripes", "gingham"), 5, size=64)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.png"))}


@pytest.fixture(scope="module")
def expected(images, tmp_path_factory):
    """Labels and vectors of the folder's index."""
    root = tmp_path_factory.mktemp("expected")
    spec = dataset_sources.folder(root, first(images))
    build_index_from_directory(spec, root / "index", config=offline_config(root / "index"))
    return vectors_by_label(root / "index")


def first(images):
    return {name: data for name, data in images.items() if "04" not in name}


def changed(images):
    """The same names; one image has other pixels."""
    return {**first(images), "stripes/03.png": images["stripes/04.png"]}


def vectors_by_label(index):
    contents = read_index(index)
    rows = np.concatenate(list(contents.vectors[0].blocks()))
    return sorted((label, row.tobytes()) for label, row in zip(contents.labels, rows, strict=True))


@pytest.fixture
def make(request, tmp_path, monkeypatch):
    """Return what writes images as this kind of source; a source is written anew over itself."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = request.param
    if name in (*REMOTE, *S3):
        with getattr(remote_sources, "web_server" if name in REMOTE else "s3_server")(tmp_path, monkeypatch) as server:
            yield lambda images: getattr(remote_sources, name)(server, tmp_path, images)
    else:
        yield lambda images: getattr(dataset_sources, name)(tmp_path, images)


@pytest.mark.long
@pytest.mark.parametrize("make", sources(), indirect=True)
def test_every_source_is_as_good_as_a_folder(make, images, expected, tmp_path):
    """Vectors and labels are the same, nothing is encoded twice, and each image is opened again by its id."""
    index, spec = tmp_path / "index", make(first(images))
    config = offline_config(index)
    report = build_index_from_directory(spec, index, config=config)
    assert (report.total, [file for file in report.skipped if file.failed]) == (8, [])
    assert vectors_by_label(index) == expected

    again = build_index_from_directory(spec, index, config=config)
    assert (again.changes.encoded, again.changes.any) == (0, False)

    make(changed(images))
    synced = IndexEditor(index, config).sync()
    encoded = synced.changes.encoded
    has_crops = spec.kind in ("coco", "voc")  # their bytes are those of the whole image
    assert encoded == 1 if not has_crops else 1 <= encoded <= 8
    assert len({*vectors_by_label(index)} - {*expected}) == 1

    check_reopened(index, config, tmp_path)
    check_used(spec, config)


def check_reopened(index, config, folder):
    """The images of the examples are those that were indexed; pages show them, and no check misses them."""
    contents = read_index(index)
    for path, content_hash in zip(contents.paths, contents.hashes, strict=True):
        assert read_image(contents.file_of(path)).content_hash == content_hash, path
    assert [finding.what for finding in check_index(index) if "missing" in finding.what] == []
    assert audit_index(index, config).examples == 8
    (references,) = ReferenceImages([Index.open(index)], 8, config.images.limits).read([np.arange(8)])
    assert len(references) == 8
    check_thumbnails(contents)
    with HybridClassifier(config) as classifier:
        places = [contents.file_of(path) for path in contents.paths]
        results = list(classifier.classify_paths(places, leave_out_identical=True))
        assert [result.path for result in results] == [str(place) for place in places]
        entries = [LabeledResult(place, result) for place, result in zip(places, results)]
        stored = contents.manifest.image_root
        dataset = DatasetSpec.from_stored(stored)
        write_contact_sheet(folder / "sheet.html", "Sheet", [], entries, dataset)
        assert "no image: " not in (folder / "sheet.html").read_text()
        assert classifier.classify(places[0]).content_hash == contents.hashes[0]


def check_thumbnails(contents):
    """The pages of the server show every example."""
    if not is_installed("fastapi"):
        return
    from lmm_classifier.server.results import ExampleIds
    from lmm_classifier.server.thumbnails import ThumbnailCache

    cache, ids = ThumbnailCache(10**6, ImageLimits()), ExampleIds(contents)
    try:
        for content_hash in contents.hashes:
            assert asyncio.run(cache.get(ids, content_hash, 64)).startswith(b"\xff\xd8")
    finally:
        cache.close()


def check_used(spec, config):
    """The same specification serves `evaluate` and `classify`."""
    found = find_in_source(spec, config.images)
    assert len(found.places) == 8
    with HybridClassifier(config) as classifier:
        evaluation = evaluate_folder(spec, classifier, leave_out_identical=True)
    assert (len(evaluation.known), len(evaluation.unreadable)) == (8, 0)


@pytest.mark.parametrize("make", ["zipped", "coco"], indirect=True)
def test_a_source_that_is_gone_is_named(make, images, tmp_path):
    """The index still answers; sync, doctor and evidence say what is gone."""
    index, spec = tmp_path / "index", make(first(images))
    config = offline_config(index)
    build_index_from_directory(spec, index, config=config)
    gone = tmp_path / ("scenes" if spec.kind else "files" if spec.source.endswith("csv") else "")
    gone = gone if gone != tmp_path else tmp_path / spec.source
    gone.rename(tmp_path / "elsewhere")
    problems = [finding.what for finding in check_index(index)]
    assert any("missing" in problem for problem in problems), problems
    contents = read_index(index)
    with pytest.raises(Exception, match=r"no such file|does not exist"):
        read_image(contents.file_of(contents.paths[0]))
    if gone.name not in ("scenes", "files"):
        with pytest.raises(DatasetError, match="cannot be read"):
            IndexEditor(index, config).sync()
    assert HybridClassifier(config).classify(images["stripes/04.png"]).label in ("stripes", "gingham", "unknown")


def test_boxes_of_one_image_are_decoded_once(images, tmp_path):
    """An image with four boxes is decoded once for all of them."""
    spec = dataset_sources.coco(tmp_path, first(images))
    dataset = open_dataset(spec, offline_config(tmp_path / "index").images)
    decoded = []
    place_of = [dataset.root / example.path for example in dataset.examples]
    assert all(isinstance(place, Crop) for place in place_of)
    for place in place_of:
        place.cut(place.read_bytes(), lambda data: decoded.append(1) or decode(data))
    assert len(decoded) == 2


SHIFTED = ["csv_manifest", pytest.param("parquet_images", marks=needs("pyarrow")), "webdataset"]


@pytest.mark.parametrize("make", SHIFTED, indirect=True)
def test_a_corrected_label_stays(make, images, tmp_path):
    """Also where another row comes before it, so that it has another number now."""
    index = tmp_path / "index"
    config = offline_config(index)
    build_index_from_directory(make(first(images)), index, config=config)
    contents = read_index(index)
    corrected = next(row for row, label in enumerate(contents.labels) if label == "stripes")
    IndexEditor(index, config).relabel([contents.paths[corrected]], "corrected")
    make({"gingham/04.png": images["gingham/04.png"], **first(images)})
    report = IndexEditor(index, config).sync()
    assert (report.changes.encoded, report.indexed["corrected"]) == (1, 1)
    after = read_index(index)
    assert after.hashes[after.labels.index("corrected")] == contents.hashes[corrected]


def test_a_damaged_archive_costs_no_example(images, tmp_path):
    """What cannot be seen may still be there: the examples stay, and the damage is told."""
    index, spec = tmp_path / "index", dataset_sources.tar(tmp_path, first(images))
    config = offline_config(index)
    build_index_from_directory(spec, index, config=config)
    whole = (tmp_path / "images.tar").read_bytes()
    (tmp_path / "images.tar").write_bytes(whole[: len(whole) // 3])
    report = IndexEditor(index, config).sync()
    assert (report.total, report.changes.removed) == (8, ())
    assert any("damaged from byte" in file.reason or "is cut" in file.reason for file in report.skipped)


@pytest.mark.parametrize(
    ("source", "library", "extra"),
    [
        ("x.parquet", "pyarrow", "parquet"),
        ("hf:owner/name", "datasets", "datasets"),
        ("s3://bucket/x", "s3fs", "remote"),
        ("https://host/x.zip", "aiohttp", "remote"),
        ("gs://bucket/x.csv", "gcsfs", "gcs"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(source, library, extra, tmp_path, monkeypatch):
    """So that one command installs it."""
    pytest.importorskip("fsspec", reason="needs fsspec")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"lmm-classifier\[{extra}\]"):
        open_dataset(DatasetSpec(source), ImagesConfig())
