"""The contract of every exporter: each example or result is there once, whole or not at all, replacing nothing."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import IndexFileError, OutputError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.integrations.exports.export_options import ExportOptions
from lmm_classifier.integrations.exports.index_export import INDEX_FORMATS, export_index
from lmm_classifier.integrations.exports.result_export import RESULT_FORMATS, write_results
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.exported import ODD_LABELS, Found, arrays_of, images_of, leftovers, result, rows_of, tasks_of
from tests.helpers.installed import is_installed
from tests.helpers.vector_indexes import write_clusters

needs_parquet = pytest.mark.skipif(
    not (is_installed("pyarrow") and is_installed("pandas")), reason="needs pyarrow and pandas"
)
READERS = {"parquet": rows_of, "label-studio": tasks_of, "fiftyone": images_of, "cleanlab": arrays_of}
OVERWRITE = ExportOptions(overwrite=True)


def formats(names):
    return [pytest.param(name, marks=needs_parquet) if name == "parquet" else name for name in names]


each_index_format = pytest.mark.parametrize("to", formats(INDEX_FORMATS))
each_result_format = pytest.mark.parametrize("to", formats(RESULT_FORMATS))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A folder with images and an index of them, whose labels are hard to write. Tests must not change it."""
    root = tmp_path_factory.mktemp("odd")
    draw_dataset(root / "images", count=3, size=48)
    config = offline_config(root / "plain.npz")
    build_index_from_directory(root / "images", output_path=root / "plain.npz", config=config)
    contents = read_index(root / "plain.npz")
    odd = dict(zip(sorted(set(contents.labels)), ODD_LABELS))
    write_index(root / "odd.npz", replace(contents, labels=[odd[label] for label in contents.labels]))
    return root


def expected(root):
    contents = read_index(root / "odd.npz")
    return list(zip(contents.paths, contents.labels))


def in_csv(output):
    """Read a manifest by our own reader of datasets, next to the images."""
    examples = open_dataset(DatasetSpec(str(output)), ImagesConfig()).examples
    return [Found(example.path, example.label, {}) for example in examples]


def in_folders(output, report):
    labels = {folder: label for label, folder in report.folders.items()}
    return [Found(path.name, labels[path.parent.name], {}) for path in output.rglob("*.png")]


@each_index_format
def test_each_example_is_there_once(dataset, tmp_path, to):
    """Under its id and its label, whatever characters the label has."""
    output = (dataset / "images" if to == "csv" else tmp_path) / f"out-{to}.csv"
    report = export_index(dataset / "odd.npz", output, to, offline_config(dataset / "odd.npz"))
    assert (report.examples, report.skipped) == (12, ())
    if to == "folder":
        assert report.counts == {"copied": 12}
        assert sorted(found.label for found in in_folders(output, report)) == sorted(
            label for _, label in expected(dataset)
        )
        return
    found = in_csv(output) if to == "csv" else READERS[to](output)
    assert sorted((one.path, one.label) for one in found) == sorted(expected(dataset))
    assert leftovers(output.parent) == []


@each_index_format
def test_nothing_else_is_replaced(dataset, tmp_path, to):
    """Not an earlier export unless that is asked for, and never a file of a user."""
    config = offline_config(dataset / "odd.npz")
    output = tmp_path / "out"
    export_index(dataset / "odd.npz", output, to, config)
    if to == "folder":  # doing it again changes nothing
        assert export_index(dataset / "odd.npz", output, to, config).counts == {"already there": 12}
    else:
        with pytest.raises(OutputError, match="exists already"):
            export_index(dataset / "odd.npz", output, to, config)
        export_index(dataset / "odd.npz", output, to, config, OVERWRITE)
    mine = tmp_path / "mine"
    if to in ("cleanlab", "fiftyone"):
        mine.mkdir()
        (mine / "photo.png").write_bytes(b"mine")
        with pytest.raises(OutputError, match="other files"):
            export_index(dataset / "odd.npz", mine, to, config, OVERWRITE)
        assert (mine / "photo.png").read_bytes() == b"mine"
    elif to != "folder":
        mine.write_bytes(b"mine")
        with pytest.raises(OutputError, match="not replaced"):
            export_index(dataset / "odd.npz", mine, to, config, OVERWRITE)
        assert mine.read_bytes() == b"mine"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("to", ["folder", "label-studio", "fiftyone"])
def test_an_index_of_vectors_has_no_images(tmp_path, to):
    """The message says which formats need none."""
    index = write_clusters(tmp_path / "vectors.npz")
    contents = read_index(index)
    write_index(index, replace(contents, manifest=replace(contents.manifest, image_root="")))
    with pytest.raises(IndexFileError, match="Expected csv, parquet or cleanlab"):
        export_index(index, tmp_path / "out", to)
    assert not (tmp_path / "out").exists()


@each_index_format
def test_a_missing_image_is_named(dataset, tmp_path, to):
    """Where the export holds the image itself; where it only names the file, the example is there."""
    copy = tmp_path / "images"
    shutil.copytree(dataset / "images", copy)
    contents = read_index(dataset / "odd.npz")
    write_index(tmp_path / "i.npz", replace(contents, manifest=replace(contents.manifest, image_root=str(copy))))
    (copy / contents.paths[0]).unlink()
    options = ExportOptions(with_images=to == "parquet")
    report = export_index(tmp_path / "i.npz", tmp_path / "out", to, offline_config(tmp_path / "i.npz"), options)
    assert [skipped.failed for skipped in report.skipped] == ([True] if to in ("folder", "parquet") else [])
    if to == "parquet":
        (row,) = [found.rest for found in rows_of(tmp_path / "out") if found.path == contents.paths[0]]
        assert row["image"] is None
        assert len(row["vector"]) == read_index(dataset / "odd.npz").manifest.encoders[0].fingerprint.dim


RESULTS: list[Classification] = [
    result("new/a b.png", ODD_LABELS[0]),
    result("./new/=1.png", ODD_LABELS[1], "novel"),
    result("/new/ü.png", "", "unreadable"),
]


@each_result_format
def test_each_result_is_there_once(tmp_path, to):
    """Unknown images and unreadable ones too, with their reason."""
    output = tmp_path / "out.any"
    assert write_results(iter(RESULTS), output, to, ODD_LABELS) == 3
    found = READERS[to](output)
    assert [one.path for one in found] == [result.path for result in RESULTS]
    assert [one.rest["reason"] for one in found] == ["confident", "novel", "unreadable"]
    assert [one.rest.get("error") for one in found][2] == "/new/ü.png: it is broken"
    no_label = None if to == "label-studio" else "unknown"
    assert [one.label for one in found] == [ODD_LABELS[0], no_label, no_label]
    assert leftovers(tmp_path) == []


@each_result_format
def test_a_coarse_label_keeps_its_level(tmp_path, to):
    """A task of Label Studio has the likeliest label instead, because a person chooses among labels."""
    coarse = replace(result("new/1.png", "tops", "rolled_up"), label_path=("body", "tops"), level=1)
    best = replace(coarse.candidates[0], label="shirt", score=0.4)
    write_results([replace(coarse, candidates=(best,))], tmp_path / "out.any", to)
    (found,) = READERS[to](tmp_path / "out.any")
    if to == "label-studio":
        assert (found.label, found.rest["reason"]) == ("shirt", "rolled_up")
        assert "tops" not in (tmp_path / "out.xml").read_text("utf-8")
        return
    way = ["body", "tops"] if to == "parquet" else "body / tops"
    assert (found.label, found.rest["level"]) == ("tops", 1)
    assert found.rest["label_path"] == way if to == "fiftyone" else list(found.rest["label_path"]) == way


@each_result_format
def test_no_result(tmp_path, to):
    """The output is there, and its program can read it."""
    assert write_results([], tmp_path / "out.any", to, ["cat"]) == 0
    assert READERS[to](tmp_path / "out.any") == []


@each_result_format
def test_an_interrupted_run_leaves_nothing_torn(tmp_path, to):
    """Neither a part of the output, nor a temporary file; an earlier export stays as it was."""

    def interrupted():
        yield from RESULTS[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_results(interrupted(), tmp_path / "out.any", to)
    assert list(tmp_path.iterdir()) == []
    write_results(RESULTS, tmp_path / "out.any", to)
    with pytest.raises(KeyboardInterrupt):
        write_results(interrupted(), tmp_path / "out.any", to, options=OVERWRITE)
    assert len(READERS[to](tmp_path / "out.any")) == 3
    assert leftovers(tmp_path) == []


@each_result_format
def test_names_of_files_that_are_no_text(tmp_path, to):
    """A name with a byte that is not UTF-8 stops no run."""
    path = b"new/\xe9.png".decode("utf-8", "surrogateescape")
    write_results([result(path, "cat")], tmp_path / "out.any", to)
    (found,) = READERS[to](tmp_path / "out.any")
    assert found.path == ("new/\\xe9.png" if to == "parquet" else path)


@each_result_format
def test_options_of_other_formats_are_refused(tmp_path, to):
    """Before anything is written."""
    for option, owner in (({"with_images": True}, "parquet"), ({"url_prefix": "x"}, "label-studio")):
        if owner != to:
            with pytest.raises(OutputError, match=f"belongs to the format {owner}"):
                write_results([], tmp_path / "out.any", to, options=ExportOptions(**option))
    with pytest.raises(OutputError, match="does not exist"):
        write_results([], tmp_path / "none/out.any", to)
    assert list(tmp_path.iterdir()) == []


def test_probabilities_are_those_of_held_out_examples(dataset, tmp_path):
    """The arrays for cleanlab have those of leave-one-out, and the vectors of the index in the same order."""
    export_index(dataset / "odd.npz", tmp_path / "out", "cleanlab", offline_config(dataset / "odd.npz"))
    probabilities = np.load(tmp_path / "out/pred_probs.npy")
    assert 0 < (probabilities.argmax(axis=1) == np.load(tmp_path / "out/labels.npy")).mean() <= 1
    assert np.load(tmp_path / "out/features.npy").shape[0] == 12
