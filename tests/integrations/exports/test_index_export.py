"""The examples of an index for other programs, which read them back."""

import json
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.errors import CalibrationError, OutputError
from lmm_classifier.data.images import read_image
from lmm_classifier.data.vectors.named_vectors import VectorColumns
from lmm_classifier.data.vectors.parquet_vectors import read_parquet
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.integrations.exports.export_options import ExportOptions
from lmm_classifier.integrations.exports.index_export import export_index
from scripts.tool_environment import tool_environment
from tests.helpers import dataset_sources
from tests.helpers.datasets import draw_dataset, offline_config
from tests.helpers.exported import arrays_of, images_of, rows_of, tasks_of
from tests.helpers.vector_indexes import write_clusters, write_encoders


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    """An index of images in an archive, which are no files of their own."""
    root = tmp_path_factory.mktemp("zipped")
    images = draw_dataset(root / "images", ["stripes", "gingham"], count=3, size=48)
    files = {path.relative_to(images).as_posix(): path.read_bytes() for path in images.rglob("*.png")}
    spec = dataset_sources.zipped(root, files)
    build_index_from_directory(spec, output_path=root / "index.npz", config=offline_config(root / "index.npz"))
    return root


def test_a_table_is_read_back_as_the_same_index(tmp_path):
    """Vectors, labels and ids are the same, bit for bit."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    index = write_clusters(tmp_path / "index.npz")
    export_index(index, tmp_path / "examples.parquet", "parquet")
    given = read_parquet(tmp_path / "examples.parquet", VectorColumns(None, "label", "path"))
    Index.from_vectors(given.vectors, given.labels, given.ids).save(tmp_path / "again.npz")
    before, after = Index.open(index), Index.open(tmp_path / "again.npz")
    assert (before.vectors() == after.vectors()).all()
    assert list(before.contents.labels) == list(after.contents.labels)
    assert list(before.contents.paths) == list(after.contents.paths)


def test_tables_keep_the_groups_of_vectors(tmp_path):
    """In a column of their own, which an import reads back; an example without a group has an empty cell."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    vectors, groups = np.eye(4, 8, dtype=np.float32), ["x", "", "x", "=y"]
    Index.from_vectors(vectors, ["a", "a", "b", "b"], list("1234"), groups=groups).save(tmp_path / "index")
    export_index(tmp_path / "index", tmp_path / "examples.parquet", "parquet")
    given = read_parquet(tmp_path / "examples.parquet", VectorColumns(None, "label", "path", "group"))
    assert given.groups == groups
    export_index(tmp_path / "index", tmp_path / "examples.csv", "csv")
    header, *rows = (tmp_path / "examples.csv").read_text(encoding="utf-8").splitlines()
    assert header == "path,label,content_hash,group"
    assert [row.rpartition(",")[2] for row in rows] == ["x", "", "x", "'=y"]


def test_a_table_has_the_vectors_of_each_encoder(tmp_path):
    """Those of further encoders are in columns of their own."""
    pytest.importorskip("pandas", reason="pandas is not installed")
    each = [np.eye(4, 8, dtype=np.float32), np.eye(4, 5, dtype=np.float32)]
    index = write_encoders(tmp_path / "index.npz", ["a", "a", "b", "b"], each)
    export_index(index, tmp_path / "examples.parquet", "parquet")
    rows = [found.rest for found in rows_of(tmp_path / "examples.parquet")]
    for name, vectors in zip(("vector", "vector_2"), each):
        assert (np.stack([row[name] for row in rows]) == vectors).all()


def test_images_in_a_table_are_read_by_datasets(zipped, tmp_path):
    """The library decodes them by itself, wherever the bytes came from."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    export_index(zipped / "index.npz", tmp_path / "x.parquet", "parquet", options=ExportOptions(with_images=True))
    read = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "x.parquet"), cache_dir=str(tmp_path / "cache"), split="train"
    )
    assert read.features["image"] == datasets.Image()
    assert [image.size for image in read["image"]] == [(48, 48)] * 6


def test_members_of_an_archive(zipped, tmp_path):
    """FiftyOne gets copies; Label Studio needs a prefix, because the members have no address."""
    config = offline_config(zipped / "index.npz")
    export_index(zipped / "index.npz", tmp_path / "fiftyone", "fiftyone", config)
    found = images_of(tmp_path / "fiftyone")
    contents = read_index(zipped / "index.npz")
    for image in found:
        assert image.rest["file"].read_bytes() == contents.file_of(image.path).read_bytes()
    with pytest.raises(OutputError, match="has no URL. Expected a prefix"):
        export_index(zipped / "index.npz", tmp_path / "tasks.json", "label-studio", config)
    assert not (tmp_path / "tasks.json").exists()
    options = ExportOptions(url_prefix="https://example.org/?d=")
    export_index(zipped / "index.npz", tmp_path / "tasks.json", "label-studio", config, options)
    tasks = tasks_of(tmp_path / "tasks.json")
    assert tasks[0].rest["image"] == f"https://example.org/?d={contents.paths[0]}"
    export_index(zipped / "index.npz", tmp_path / "folder", "folder", config)
    assert len(list((tmp_path / "folder").rglob("*.png"))) == 6


def test_parts_of_images_are_cut_out(tmp_path):
    """Each is a file with the pixels that were indexed; Label Studio, which needs addresses, is refused at once."""
    images = draw_dataset(tmp_path / "images", ["stripes", "gingham"], count=3, size=48)
    files = {path.relative_to(images).as_posix(): path.read_bytes() for path in images.rglob("*.png")}
    index, spec = tmp_path / "index.npz", dataset_sources.coco(tmp_path, files)
    config = offline_config(index)
    build_index_from_directory(spec, output_path=index, config=config)
    with pytest.raises(OutputError, match="are boxes.*Expected fiftyone or folder"):
        export_index(index, tmp_path / "tasks.json", "label-studio", config, ExportOptions(url_prefix="x/"))
    assert not (tmp_path / "tasks.json").exists()

    contents = read_index(index)
    pixels = {path: read_image(contents.file_of(path)).image.tobytes() for path in contents.paths}
    assert export_index(index, tmp_path / "fiftyone", "fiftyone", config).skipped == ()
    found = {image.path: read_image(image.rest["file"]).image.tobytes() for image in images_of(tmp_path / "fiftyone")}
    assert found == pixels
    assert export_index(index, tmp_path / "folder", "folder", config).counts == {"copied": 6}
    assert export_index(index, tmp_path / "folder", "folder", config).counts == {"already there": 6}
    found_in_folder = [read_image(path).image.tobytes() for path in (tmp_path / "folder").rglob("*.png")]
    assert sorted(found_in_folder) == sorted(pixels.values())

    (tmp_path / "scenes/0.png").unlink()
    report = export_index(index, tmp_path / "fiftyone", "fiftyone", config, ExportOptions(overwrite=True))
    assert [file.reason for file in report.skipped] == ["no such file or directory"] * 3
    assert all(image.rest["file"].is_file() for image in images_of(tmp_path / "fiftyone"))


def test_copies_are_left_out_of_the_arrays_and_named(tmp_path):
    """A copy would predict its example, so neither is held out."""
    labels = ["a"] * 8 + ["b"] * 8
    contents = read_index(write_clusters(tmp_path / "index.npz", labels))
    hashes = [contents.hashes[1], *contents.hashes[1:]]
    write_index(tmp_path / "index.npz", replace(contents, hashes=hashes))
    report = export_index(tmp_path / "index.npz", tmp_path / "arrays", "cleanlab")
    assert [skipped.path for skipped in report.skipped] == list(contents.paths[:2])
    assert [found.path for found in arrays_of(tmp_path / "arrays")] == list(contents.paths[2:])
    lines = (tmp_path / "arrays/left_out.csv").read_text("utf-8").splitlines()
    assert lines[0] == "path,reason"
    assert [line.partition(",")[0] for line in lines[1:]] == list(contents.paths[:2])


def test_what_cannot_be_arrays(tmp_path):
    """One label has nothing to be held out against; a line break would shift the list of ids."""
    write_clusters(tmp_path / "one.npz", ["a"] * 8)
    with pytest.raises(CalibrationError, match="Expected two labels"):
        export_index(tmp_path / "one.npz", tmp_path / "out", "cleanlab")
    contents = read_index(write_clusters(tmp_path / "two.npz", ["a"] * 8 + ["b"] * 8))
    write_index(tmp_path / "two.npz", replace(contents, paths=["a\nb", *contents.paths[1:]]))
    with pytest.raises(OutputError, match="line break"):
        export_index(tmp_path / "two.npz", tmp_path / "out", "cleanlab")
    assert not (tmp_path / "out").exists()


def test_a_label_that_xml_cannot_hold(tmp_path):
    """Label Studio could not read its interface."""
    contents = read_index(write_clusters(tmp_path / "i.npz", ["a"] * 8 + ["b"] * 8))
    write_index(tmp_path / "i.npz", replace(contents, labels=["bell\a", *contents.labels[1:]]))
    with pytest.raises(OutputError, match="XML cannot hold"):
        export_index(tmp_path / "i.npz", tmp_path / "tasks.json", "label-studio")


def test_tasks_have_the_probability_of_the_label(zipped, tmp_path):
    """A low score means that the label may be wrong; an index too small to hold out has none."""
    options = ExportOptions(url_prefix="x/")
    config = offline_config(zipped / "index.npz")
    export_index(zipped / "index.npz", tmp_path / "tasks.json", "label-studio", config, options)
    tasks = json.loads((tmp_path / "tasks.json").read_text("ascii"))
    assert all(0 <= task["predictions"][0]["score"] <= 1 for task in tasks)
    export_index(
        write_clusters(tmp_path / "one.npz", ["a"] * 3), tmp_path / "one.json", "label-studio", config, options
    )
    tasks = json.loads((tmp_path / "one.json").read_text("ascii"))
    assert all("score" not in task["predictions"][0] for task in tasks)


def test_an_unknown_format(tmp_path):
    """The message lists those that there are."""
    with pytest.raises(OutputError, match="Expected folder, csv, parquet"):
        export_index(tmp_path / "none", tmp_path / "out", "yolo")


CHECK = """
import json, sys
import numpy as np
from cleanlab.filter import find_label_issues
from label_studio_sdk.label_interface import LabelInterface

folder, wrong = sys.argv[1], int(sys.argv[2])
interface = LabelInterface(open(f"{folder}/tasks.xml", encoding="utf-8").read())
interface.validate()
tasks = json.load(open(f"{folder}/tasks.json"))
for task in tasks:
    assert interface.validate_task({"data": task["data"]})
    (prediction,) = task["predictions"]
    assert interface.validate_prediction(prediction), prediction
    prediction["result"][0]["value"]["choices"] = ["no such label"]
    assert not interface.validate_prediction(prediction)
labels, probabilities = np.load(f"{folder}/arrays/labels.npy"), np.load(f"{folder}/arrays/pred_probs.npy")
issues = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")
assert wrong in issues.tolist(), issues
print(len(tasks), len(labels))
"""


@pytest.mark.long
def test_label_studio_and_cleanlab_accept_what_is_written_for_them(tmp_path):
    """The SDK of Label Studio validates each prediction, and cleanlab finds a wrong label in the arrays."""
    try:
        programs = tool_environment("exports")
    except subprocess.CalledProcessError:
        pytest.skip("pip cannot install requirements/exports.txt")
    contents = read_index(write_clusters(tmp_path / "index.npz", spread=0.3))
    odd = {"a": 'a,b "q"', "b": "=1+1", "c": "猫/naïve"}
    labels = [odd[label] for label in contents.labels]
    labels[3] = odd["c"]  # the wrong one
    write_index(tmp_path / "index.npz", replace(contents, labels=labels))
    export_index(tmp_path / "index.npz", tmp_path / "arrays", "cleanlab")
    export_index(tmp_path / "index.npz", tmp_path / "tasks.json", "label-studio")
    done = subprocess.run(
        [programs / "python", "-c", CHECK, tmp_path, "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["150", "150"]
