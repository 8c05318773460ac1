"""The doctor finds problems, gives advice, and a repair loses no sound row."""

import shutil
import sqlite3

import numpy as np
import pytest

from lmm_classifier.core.errors import Cancelled, IndexFileError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import Index
from tests.helpers.datasets import draw_dataset, offline_config


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("doctor")
    dataset = draw_dataset(root / "dataset", count=4, size=48)
    build_index_from_directory(dataset, root / "index", config=offline_config(root / "index"))
    return root


@pytest.fixture
def index(original, tmp_path):
    return shutil.copytree(original / "index", tmp_path / "index")


def tamper(index, *statements):
    with sqlite3.connect(index / FILE) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def findings(index, repair=False):
    return [(finding.severity, finding.repaired, finding.what) for finding in check_index(index, repair)]


def encoded_by_sync(index, original):
    """Sync a repaired index, compare it with the original, and return how many images were encoded."""
    report = IndexEditor(index, offline_config(index)).sync(original / "dataset")
    repaired, before = Index.open(index), Index.open(original / "index")
    assert repaired.examples == before.examples
    np.testing.assert_array_equal(repaired.gallery.embeddings, before.gallery.embeddings)
    assert check_index(index) == []
    return report.changes.encoded


def test_a_sound_index_has_no_findings_and_is_not_changed(index):
    """Neither by a check nor by a repair."""
    assert check_index(index) == []
    before = (index / FILE).read_bytes()
    assert check_index(index, repair=True) == []
    assert (index / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "what", "encoded"),
    [
        ("UPDATE vectors SET vector = zeroblob(9940) WHERE key IN (2, 3)", "2 damaged vectors", 2),
        ("DELETE FROM vectors WHERE key = 5", "1 examples have no usable vector", 1),
        (
            "UPDATE examples SET size = 5 WHERE path >= CAST('stripes' AS BLOB)",
            "4 damaged examples",
            0,
        ),
        (
            "DELETE FROM examples WHERE path >= CAST('stripes' AS BLOB)",
            "the index has 12 examples, but 16 were written",
            0,
        ),
        ("UPDATE meta SET crc = 0 WHERE name = 'state'", "1 damaged meta: state", 0),
        ("INSERT INTO removed VALUES (CAST('x' AS BLOB), CAST('y' AS BLOB), 5)", "1 damaged removed", 0),
    ],
)
def test_damaged_rows_are_found_and_repaired(index, original, statement, what, encoded):
    """A repair removes them, and a sync adds what is missing; it encodes only images that lost their vector."""
    tamper(index, statement)
    shutil.rmtree(index / "derived")
    first = findings(index)
    assert any(severity == "damage" and not repaired and what in text for severity, repaired, text in first), first
    assert any(repaired and what in text for _, repaired, text in findings(index, repair=True))
    assert all(severity == "note" for severity, _, _ in findings(index))
    assert encoded_by_sync(index, original) == encoded


def test_a_damaged_transform_is_fitted_again(index, original):
    """A build fits it and encodes nothing."""
    tamper(index, "UPDATE meta SET value = zeroblob(10) WHERE name = 'transform.0.projection'")
    assert any("transform.0.projection" in text for _, repaired, text in findings(index, repair=True) if repaired)
    report = build_index_from_directory(original / "dataset", index, config=offline_config(index))
    assert report.changes.encoded == 0
    assert encoded_by_sync(index, original) == 0


def test_a_broken_database_is_salvaged(index, original):
    """Some pages are overwritten: readable rows are copied, the broken file stays, and a sync adds what is missing."""
    data = bytearray((index / FILE).read_bytes())
    pages = len(data) // 16384
    for page in range(pages // 2, pages // 2 + 4):
        data[page * 16384 : page * 16384 + 12000] = b"\xa5" * 12000
    (index / FILE).write_bytes(data)
    shutil.rmtree(index / "derived")
    assert any("database" in text for _, _, text in findings(index))
    repaired = findings(index, repair=True)
    assert any(done and "recovered" in text for _, done, text in repaired), repaired
    assert (index / f"{FILE}.damaged-1").read_bytes() == data
    with Store(index) as store:
        assert store.state is not None
    assert encoded_by_sync(index, original) < 16


def test_a_file_that_is_no_database_is_reported_and_not_changed(index):
    """With and without a repair."""
    (index / FILE).write_bytes(b"\0" * 50_000)
    for repair in (False, True):
        (finding,) = [finding for finding in check_index(index, repair) if finding.severity == "damage"]
        assert not finding.repaired
    assert (index / FILE).read_bytes() == b"\0" * 50_000


@pytest.mark.parametrize("kept", [b"", b"\0" * 5000, None])
def test_no_advice_of_the_doctor_is_to_call_the_doctor(index, kept):
    """The way out of damage that no repair can undo is another folder, because a build refuses this one too."""
    (index / FILE).write_bytes((index / FILE).read_bytes()[:100_000] if kept is None else kept)
    shutil.rmtree(index / "derived")
    (problem, *_) = [f for f in check_index(index) if f.severity == "damage"]
    assert "lmm-classifier doctor" not in problem.what + problem.advice
    assert problem.advice.startswith("a repair copies every sound row")
    (problem, *_) = [f for f in check_index(index, repair=True) if f.severity == "damage"]
    assert "lmm-classifier doctor" not in problem.what + problem.advice
    assert problem.repaired or problem.advice.startswith(f"delete the folder {index} or choose another output")


def test_derived_files_and_leftovers_are_repaired(index):
    """They are notes. The image of an example never counts as a leftover."""
    from lmm_classifier.data.synthetic.catalog import draw

    editor = IndexEditor(index, offline_config(index))
    editor.add([draw("argyle", np.random.default_rng(0), 48)], "argyle")
    (stored,) = (index / "added").iterdir()
    (index / "added" / "orphan.png").write_bytes(b"x")
    (index / "derived" / ".half.tmp").write_bytes(b"x")
    file = next((index / "derived").glob("*.npy"))
    data = bytearray(file.read_bytes())
    data[500] ^= 1
    file.write_bytes(data)
    notes = findings(index, repair=True)
    assert {severity for severity, _, _ in notes} == {"note"}
    assert sum(repaired for _, repaired, _ in notes) == 2
    assert stored.exists()
    assert not (index / "added" / "orphan.png").exists()
    assert (index / "set-aside" / "orphan.png").read_bytes() == b"x"  # it may be the only copy
    assert [text for _, _, text in findings(index)] == ["the transform was fitted to other images"]


def test_missing_images_interrupted_syncs_and_damaged_archives_are_reported(index, original, tmp_path):
    """A missing index is an error."""
    with Store(index) as store:
        store.begin("dataset", "float32")
    assert [text for _, _, text in findings(index)] == ["a sync was interrupted"]
    moved = tmp_path / "dataset"
    shutil.copytree(original / "dataset", moved)
    IndexEditor(index, offline_config(index)).sync(moved)
    (moved / "stripes" / "00.png").unlink()
    assert [text for _, _, text in findings(index)] == ["1 images are missing: stripes/00.png"]
    shutil.rmtree(moved)
    assert "is missing" in findings(index)[0][2]
    write_index(tmp_path / "x.npz", Index.open(original / "index").contents)
    assert check_index(tmp_path / "x.npz") == []
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[5000] ^= 1
    (tmp_path / "x.npz").write_bytes(data)
    assert [finding.severity for finding in check_index(tmp_path / "x.npz")] == ["damage"]
    for wrong in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(IndexFileError):
            check_index(wrong)


def test_an_unfinished_build_is_reported(original, tmp_path):
    """With the number of encoded images, and the advice to build again."""
    with Store(tmp_path / "new", create=True) as store:
        store.begin(str(original / "dataset"), "float32")
    (finding,) = check_index(tmp_path / "new")
    assert (finding.severity, finding.repaired) == ("damage", False)
    assert "interrupted after 0 images" in finding.what
    assert finding.advice == "run `lmm-classifier build` again to resume it"


def test_a_check_can_be_stopped_between_its_parts(index):
    """Each part is reported, and an index can be checked again after the stop."""
    parts = []

    def cancel(progress):
        parts.append((progress.done, progress.total))
        if progress.done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        check_index(index, repair=True, progress=cancel)
    assert parts == [(1, 4), (2, 4)]
    assert check_index(index, repair=True) == []
