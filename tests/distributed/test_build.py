"""A table built by workers holds what a local index holds, and is built again from what is there."""

import json
import os
import random
import shutil
from urllib.parse import urlsplit

import pytest

from lmm_classifier.core.errors import ConfigError, DatasetError, IndexMismatchError, OutputError, ReplacementError
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.distributed.build import TableBuild, build_table
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.engines.local import InProcess, Processes
from lmm_classifier.distributed.maintenance import ChunkProblem, verify_chunks
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.chunked_builds import make_labeled, rows_of_index, rows_of_table
from tests.helpers.faulty_proxy import faulty_proxy
from tests.helpers.remote_sources import s3_server

pytest.importorskip("lance", reason="lance is not installed")

from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore


def build(labeled, output, **options):
    return build_table(labeled.root, str(output), labeled.config, options.pop("engine", InProcess()), **options)


@pytest.fixture(scope="module")
def local(labeled, tmp_path_factory):
    """A local index of the labeled, and its report."""
    path = tmp_path_factory.mktemp("local") / "index"
    return path, build_index_from_directory(labeled.root, path, config=labeled.config)


def check_same(report, table, local):
    """Check contents, labels, reasons and bits of vectors against the local index."""
    path, expected = local
    assert rows_of_table(table) == rows_of_index(path)
    assert report.indexed == expected.indexed
    assert sorted(map(str, report.skipped)) == sorted(map(str, expected.skipped))
    assert sorted(report.warnings) == sorted(expected.warnings)
    assert (report.image_root, report.encoders) == (expected.image_root, expected.encoders)


def test_a_table_holds_what_a_local_index_holds(labeled, tmp_path, local):
    """The same contents, labels, reasons and bits, from chunks of few files; the second build encodes nothing."""
    shown = []
    report = build(labeled, tmp_path / "table", chunk_files=8, progress=shown.append)
    check_same(report, tmp_path / "table", local)
    assert report.changes.encoded == report.total
    assert {progress.stage for progress in shown} == {"listing", "indexing"}
    assert shown[-1].done == shown[-1].total == len(listed_files(tmp_path / "table"))
    again = build(labeled, tmp_path / "table", chunk_files=8)
    check_same(again, tmp_path / "table", local)
    assert (again.changes.encoded, again.changes.unchanged) == (0, report.total)


def listed_files(table):
    folder = ChunkFolder(str(table))
    return [file for chunk in folder.stored().values() for file in folder.listing(chunk.name).files]


def test_a_table_answers_as_a_local_index(labeled, tmp_path, local):
    """To the bit, also for images that are examples."""
    build(labeled, tmp_path / "table", chunk_files=8)
    paths = sorted(labeled.root.glob("*/0[1-3].png"))
    results = []
    for index in (local[0], tmp_path / "table"):
        config = labeled.config.model_copy(deep=True)
        config.retrieval.index_path = index
        with HybridClassifier(config) as classifier:
            results.append(list(classifier.classify_paths(paths, leave_out_identical=True)))
    assert results[0] == results[1]
    assert len(results[0]) == 12


@pytest.mark.long
def test_processes_make_the_same_table(labeled, tmp_path, local):
    """Two at once."""
    check_same(build(labeled, tmp_path / "table", chunk_files=8, engine=Processes(2)), tmp_path / "table", local)


def test_an_interrupted_build_is_resumed(labeled, tmp_path, local):
    """Chunks that are there are not encoded again, and the state says how many they are."""

    class Interrupted(InProcess):
        def run(self, tasks, build):
            for number, outcome in enumerate(super().run(tasks, build)):
                yield outcome
                if number == 1:
                    raise KeyboardInterrupt

    first = TableBuild(DatasetSpec(str(labeled.root)), str(tmp_path), labeled.config, Interrupted(), chunk_files=8)
    assert first.state() == "No chunk was begun."
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert first.state().startswith(f"2 of {first.planned} chunks are there")
    done = sum(len(ChunkFolder(str(tmp_path)).listing(name).files) for name in ChunkFolder(str(tmp_path)).stored())
    report = build(labeled, tmp_path, chunk_files=8)
    check_same(report, tmp_path, local)
    assert report.changes.encoded >= report.total - done
    assert report.changes.encoded < report.total


@pytest.mark.long
def test_a_build_after_changes_encodes_only_what_is_new(tmp_path, monkeypatch):
    """Images that are added, removed, changed, or in chunks of another size."""
    monkeypatch.setattr("lmm_classifier.distributed.chunks._TICK", 0)  # nothing changes while it is built
    labeled = make_labeled(tmp_path / "labeled")
    build(labeled, tmp_path / "table", chunk_files=16)
    stripes = labeled.root / "stripes"
    (stripes / "03.png").unlink()
    (stripes / "00.png").write_bytes((labeled.root / "loose.png").read_bytes())  # the same content, another time
    (stripes / "new.png").write_bytes((labeled.root / "gingham/01.png").read_bytes()[:-1] + b"\0")
    shutil.copyfile(labeled.root / "polka_dots/02.png", stripes / "00a.png")
    report = build(labeled, tmp_path / "table", chunk_files=16)
    assert report.changes.encoded in (1, 2)  # `00a.png` is known where its double is in the same former chunk
    expected = build_index_from_directory(labeled.root, tmp_path / "local", config=labeled.config)
    check_same(report, tmp_path / "table", (tmp_path / "local", expected))
    report = build(labeled, tmp_path / "table", chunk_files=7)
    assert report.changes.encoded == 0
    check_same(report, tmp_path / "table", (tmp_path / "local", expected))


def test_a_descriptor_is_fitted_by_passes(labeled, tmp_path):
    """Its transform is that of a local index, up to the order of the sums."""
    import numpy as np

    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.index.backends.lance_table.finishing import finished
    from lmm_classifier.index.formats import read_index

    config = PipelineConfig.offline()
    build_table(labeled.root, str(tmp_path / "table"), config, InProcess())
    build_index_from_directory(labeled.root, tmp_path / "local", config=config)
    assert rows_of_table(tmp_path / "table") == rows_of_index(tmp_path / "local")
    fitted = finished(str(tmp_path / "table"))[1].extras.transforms[0]
    expected = read_index(tmp_path / "local").vectors[0].transform_arrays
    assert fitted.keys() == expected.keys()
    np.testing.assert_allclose(fitted["mean"], expected["mean"], atol=1e-6)
    np.testing.assert_allclose(np.abs(fitted["projection"]), np.abs(expected["projection"]), atol=1e-3)


def test_a_table_stays_that_of_its_dataset_and_encoder(labeled, tmp_path):
    """Another one is refused, and nothing is changed."""
    build(labeled, tmp_path / "table")
    before = rows_of_table(tmp_path / "table")
    other = make_labeled(tmp_path / "other", count=3)
    with pytest.raises(ReplacementError, match="Choose another output"):
        build_table(other.root, str(tmp_path / "table"), labeled.config, InProcess())
    config = labeled.config.model_copy(deep=True)
    config.set("encoder.view=center 0.5")
    with pytest.raises(IndexMismatchError):
        build_table(labeled.root, str(tmp_path / "table"), config, InProcess())
    with pytest.raises(ConfigError, match="at least 1"):
        build(labeled, tmp_path / "table", chunk_files=0)
    assert rows_of_table(tmp_path / "table") == before


def test_an_engine_that_loses_a_task_is_found_out(labeled, tmp_path):
    """Nothing is committed."""

    class Losing(InProcess):
        def run(self, tasks, build):
            yield from super().run(list(tasks)[1:], build)

    with pytest.raises(OutputError, match="1 chunks were not made"):
        build(labeled, tmp_path / "table", chunk_files=8, engine=Losing())
    assert json.loads(json.dumps(build(labeled, tmp_path / "table", chunk_files=8).to_dict()))["total"]


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The URL of an empty folder; the server of moto keeps what other tests wrote."""
    pytest.importorskip("moto", reason="moto is not installed")
    with s3_server(tmp_path, monkeypatch) as url:
        yield f"{url}/{tmp_path.name}"


def check_store(url, labeled, report, tmp_path):
    """Each row is there once, with the bits of a local index, and each chunk is good."""
    expected = build_index_from_directory(labeled.root, tmp_path / "local", config=labeled.config)
    assert rows_of_table(url) == rows_of_index(tmp_path / "local")
    assert report.indexed == expected.indexed
    assert not [found for found in verify_chunks(url) if isinstance(found, ChunkProblem)]


@pytest.mark.long
def test_a_table_is_built_on_an_object_store(bucket, labeled, tmp_path):
    """And again, which encodes nothing."""
    report = build_table(labeled.root, f"{bucket}/table", labeled.config, InProcess(), chunk_files=8)
    check_store(f"{bucket}/table", labeled, report, tmp_path)
    again = build_table(labeled.root, f"{bucket}/table", labeled.config, InProcess(), chunk_files=8)
    assert again.changes.encoded == 0


def refused(rng, seen):
    """Return whether to spoil a request: one in twenty is refused."""

    def fault(method, path):
        is_refused = rng.random() < 0.05
        seen.extend([path] * is_refused)
        return "before" if is_refused else ""

    return fault, 503


def lost_answers(_, seen):
    """Return whether to spoil a request: each file is stored, but the first answer says that it is not."""

    def fault(method, path):
        is_lost = method == "PUT" and ("/chunks/" in path or "/runs/" in path) and path not in seen
        seen.extend([path] * is_lost)
        return "after" if is_lost else ""

    return fault, 500


@pytest.mark.long
@pytest.mark.parametrize("faults", [refused, lost_answers])
def test_faults_of_the_store_lose_and_double_nothing(bucket, labeled, tmp_path, monkeypatch, faults):
    """Requests that are refused, and PUTs that succeed although the answer says that they failed."""
    import fsspec

    seen = []
    fault, status = faults(random.Random(0), seen)
    there = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    with faulty_proxy(there.hostname, there.port, fault, status) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        report = build_table(labeled.root, f"{bucket}/table", labeled.config, InProcess(), chunk_files=12)
        check_store(f"{bucket}/table", labeled, report, tmp_path)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert len(seen) >= 3


@pytest.mark.long
@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_workers_sort_and_add_up_the_rows(labeled, tmp_path, monkeypatch, kind):
    """Where there is more to do than this process does alone; with the bits of this process."""
    if kind == "ray":
        pytest.importorskip("ray", reason="ray is not installed")
        from lmm_classifier.distributed.engines.ray_engine import RayEngine
    build_table(labeled.root, str(tmp_path / "here"), labeled.config, InProcess())
    monkeypatch.setattr("lmm_classifier.distributed.build.FewHere", lambda engine: engine)
    engine = Processes(2) if kind == "processes" else RayEngine(actors=2)
    build_table(labeled.root, str(tmp_path / "there"), labeled.config, engine, chunk_files=10)
    assert rows_of_table(tmp_path / "there") == rows_of_table(tmp_path / "here")
    here, there = (LanceRowStore.open(str(tmp_path / name)) for name in ("here", "there"))
    assert there.version == here.version
    assert there.sums().products.tobytes() == here.sums().products.tobytes()


def test_a_dataset_without_images_claims_no_place(labeled, tmp_path):
    """Another one can be built there."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError):
        build_table(tmp_path / "empty", str(tmp_path / "table"), labeled.config, InProcess())
    assert build(labeled, tmp_path / "table").total
