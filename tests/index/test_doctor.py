"""The doctor finds what is wrong, says how to mend it, and loses nothing that is sound."""

import shutil
import sqlite3

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.doctor import examine
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import ExactIndex
from tests.helpers.corpora import draw_corpus, offline_config


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("doctor")
    corpus = draw_corpus(root / "corpus", count=4, size=48)
    build_index_from_directory(corpus, root / "index", config=offline_config(root / "index"))
    return root


@pytest.fixture
def index(original, tmp_path):
    return shutil.copytree(original / "index", tmp_path / "index")


def tamper(index, *statements):
    with sqlite3.connect(index / FILE) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def said(index, repair=False):
    return [(one.severity, one.mended, one.what) for one in examine(index, repair)]


def refilled(index, original):
    """What a sync makes of a mended index, and how many pictures it encoded."""
    report = IndexEditor(index, offline_config(index)).sync(original / "corpus")
    ours, before = ExactIndex.open(index), ExactIndex.open(original / "index")
    assert ours.examples == before.examples
    np.testing.assert_array_equal(ours.gallery.units, before.gallery.units)
    assert examine(index) == []
    return report.changes.encoded


def test_a_sound_index_is_sound(index):
    """Nothing is said, nothing is changed."""
    assert examine(index) == []
    before = (index / FILE).read_bytes()
    assert examine(index, repair=True) == []
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
        ("DELETE FROM examples WHERE path >= CAST('stripes' AS BLOB)", "12 examples are found where 16", 0),
        ("UPDATE meta SET crc = 0 WHERE name = 'state'", "1 damaged meta: state", 0),
        ("INSERT INTO removed VALUES (CAST('x' AS BLOB), CAST('y' AS BLOB), 5)", "1 damaged removed", 0),
    ],
)
def test_damaged_rows_are_found_and_mended(index, original, statement, what, encoded):
    """They are named; --repair drops them; a sync fills the gaps, encoding only what lost its vector."""
    tamper(index, statement)
    shutil.rmtree(index / "derived")
    first = said(index)
    assert any(severity == "damage" and not mended and what in text for severity, mended, text in first), first
    assert any(mended and what in text for _, mended, text in said(index, repair=True))
    assert all(severity == "note" for severity, _, _ in said(index))
    assert refilled(index, original) == encoded


def test_a_damaged_space_is_fitted_again(index, original):
    """The arrays of the space are derivable: build fits them, and encodes nothing."""
    tamper(index, "UPDATE meta SET value = zeroblob(10) WHERE name = 'space.projection'")
    assert any("space.projection" in text for _, mended, text in said(index, repair=True) if mended)
    report = build_index_from_directory(original / "corpus", index, config=offline_config(index))
    assert report.changes.encoded == 0
    assert refilled(index, original) == 0


def test_a_broken_database_is_salvaged(index, original):
    """Pages full of nonsense: what can be reached is saved, the broken file is kept, a sync fills the gaps."""
    data = bytearray((index / FILE).read_bytes())
    pages = len(data) // 16384
    for page in range(pages // 2, pages // 2 + 4):
        data[page * 16384 : page * 16384 + 12000] = b"\xa5" * 12000
    (index / FILE).write_bytes(data)
    shutil.rmtree(index / "derived")
    assert any("database" in text for _, _, text in said(index))
    mended = said(index, repair=True)
    assert any(done and "saved" in text for _, done, text in mended), mended
    assert (index / f"{FILE}.damaged-1").read_bytes() == data
    with Store(index) as store:
        assert store.state is not None
    assert refilled(index, original) < 16


def test_what_cannot_be_saved_is_said(index):
    """A file that is no database any more is left as it is."""
    (index / FILE).write_bytes(b"\0" * 50_000)
    for repair in (False, True):
        (finding,) = [one for one in examine(index, repair) if one.severity == "damage"]
        assert not finding.mended
    assert (index / FILE).read_bytes() == b"\0" * 50_000


def test_derived_files_and_leftovers(index):
    """They are notes, and mended at once; a picture of an example is never taken for a leftover."""
    from lmm_classifier.data.synthetic.catalog import draw

    editor = IndexEditor(index, offline_config(index))
    editor.add([draw("argyle", np.random.default_rng(0), 48)], "argyle")
    (kept,) = (index / "added").iterdir()
    (index / "added" / "orphan.png").write_bytes(b"x")
    (index / "derived" / ".half.tmp").write_bytes(b"x")
    file = next((index / "derived").glob("*.npy"))
    data = bytearray(file.read_bytes())
    data[500] ^= 1
    file.write_bytes(data)
    found = said(index, repair=True)
    assert {severity for severity, _, _ in found} == {"note"}
    assert sum(mended for _, mended, _ in found) == 2
    assert kept.exists()
    assert not (index / "added" / "orphan.png").exists()
    assert [text for _, _, text in said(index)] == ["the space was fitted to other pictures"]


def test_what_lies_around_it(index, original, tmp_path):
    """Missing pictures and an interrupted sync are told of; an archive is checked; nothing there is an error."""
    with Store(index) as store:
        store.begin("corpus", "float32")
    assert [text for _, _, text in said(index)] == ["a sync was interrupted"]
    moved = tmp_path / "corpus"
    shutil.copytree(original / "corpus", moved)
    IndexEditor(index, offline_config(index)).sync(moved)
    (moved / "stripes" / "00.png").unlink()
    assert [text for _, _, text in said(index)] == ["1 pictures are not there: stripes/00.png"]
    shutil.rmtree(moved)
    assert "is not there" in said(index)[0][2]
    write_index(tmp_path / "x.npz", ExactIndex.open(original / "index").contents)
    assert examine(tmp_path / "x.npz") == []
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[5000] ^= 1
    (tmp_path / "x.npz").write_bytes(data)
    assert [one.severity for one in examine(tmp_path / "x.npz")] == ["damage"]
    for wrong in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(IndexFileError):
            examine(wrong)


def test_an_unfinished_build_is_told(original, tmp_path):
    """What is there, and that building again goes on."""
    with Store(tmp_path / "new", create=True) as store:
        store.begin(str(original / "corpus"), "float32")
    (finding,) = examine(tmp_path / "new")
    assert (finding.severity, finding.mended) == ("damage", False)
    assert "interrupted after 0 pictures" in finding.what
