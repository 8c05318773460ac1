"""Index files: round trips, and errors for everything that is not a sound index."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.formats import editable_path, has_durable_name, is_durable, is_table, read_index, write_index
from lmm_classifier.index.storage.arrays import VectorSpool, read_header
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import random_embeddings
from tests.contracts.test_index import write


@pytest.fixture
def npz(tmp_path):
    return write(tmp_path / "index.npz", random_embeddings(np.random.default_rng(0), 5, 4))


def rewritten(npz, **members):
    """The same archive with members replaced (bytes) or removed (None)."""
    with zipfile.ZipFile(npz) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents.update({name.replace("__", "."): data for name, data in members.items()})
    with zipfile.ZipFile(npz, "w") as archive:
        for name, data in contents.items():
            if data is not None:
                archive.writestr(name, data)
    return npz


def as_npy(array, allow_pickle=False):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["index.npz", "index"])
def test_a_round_trip_preserves_names_of_any_bytes(tmp_path, kind):
    """Lone surrogates and line breaks too."""
    vectors = np.repeat(random_embeddings(np.random.default_rng(0), 1, 4), 3, axis=0)
    labels = ["ö\n", "\udcff", "x" * 255]
    path = write(tmp_path / kind, vectors, labels=labels, hashes=["a" * 64] * 3)
    contents = read_index(path)
    assert contents.labels == labels
    assert contents.hashes == ["a" * 64] * 3
    np.testing.assert_array_equal(np.concatenate(list(contents.vectors[0].blocks())), vectors)


def test_numpy_reads_the_npz_file(npz):
    """The file is an ordinary .npz: vectors, labels, paths, hashes, and the manifest as JSON."""
    with np.load(npz, allow_pickle=False) as arrays:
        assert arrays["vectors.0"].shape == (5, 4)
        assert arrays["labels"].tolist() == ["a", "b", "a", "b", "a"]
        assert arrays["paths"][0] == "p/000.jpg"
        assert json.loads(arrays["manifest.json"])["encoders"][0]["fingerprint"]["dim"] == 4


def test_a_member_under_another_name_is_damage(npz):
    """One flipped bit of a name would make an optional array vanish without a word."""
    with pytest.raises(IndexFileError, match="a member 'calibratinn.text.npy'"):
        read_index(rewritten(npz, **{"calibratinn.text.npy": as_npy(np.ones(2))}))


def test_a_durable_index_is_memory_mapped(tmp_path):
    """Opening it does not read the search matrix."""
    path = write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 5, 4))
    assert isinstance(Index.open(path).gallery.embeddings, np.memmap)


def test_writing_again_replaces_a_file_but_no_durable_index(tmp_path):
    """No temporary file remains."""
    for kind in ("index.npz", "index"):
        write(tmp_path / kind, random_embeddings(np.random.default_rng(0), 5, 4))
    write(tmp_path / "index.npz", random_embeddings(np.random.default_rng(0), 7, 4))
    assert len(Index.open(tmp_path / "index.npz")) == 7
    with pytest.raises(IndexFileError, match="holds an index already"):
        write(tmp_path / "index", random_embeddings(np.random.default_rng(0), 7, 4))
    assert len(Index.open(tmp_path / "index")) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "index.npz"]


def test_a_failed_write_does_not_change_the_old_index(npz):
    """Writing stops in the middle."""
    old = npz.read_bytes()
    contents = read_index(npz)

    def broken():
        yield np.zeros((2, 4), np.float32)
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        write_index(npz, replace(contents, vectors=(replace(contents.vectors[0], blocks=broken),)))
    assert npz.read_bytes() == old
    assert [path.name for path in npz.parent.iterdir()] == ["index.npz"]


def test_a_folder_that_is_no_index_is_not_replaced(tmp_path):
    """The files in it are not changed."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"x")
    with pytest.raises(IndexFileError, match="Choose another output"):
        write(tmp_path / "photos", random_embeddings(np.random.default_rng(0), 2, 4))
    assert (tmp_path / "photos" / "mine.jpg").read_bytes() == b"x"


def header_of_a_huge_array():
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 4)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"vectors__0__npy": None}, "vectors.0.npy missing"),
        ({"manifest__json": None}, "no manifest.json"),
        ({"manifest__json": b"{"}, "damaged manifest"),
        ({"manifest__json": b"[1]"}, "another format name"),
        ({"manifest__json": b'{"format": "lmm-classifier-index", "format_version": 99}'}, "format 99"),
        ({"manifest__json": b'{"format": "lmm-classifier-index", "format_version": 3}'}, "damaged manifest"),
        ({"manifest__json": b"[" * 100_000}, "damaged manifest"),
        ({"vectors__0__npy": as_npy(np.array([{}], object), allow_pickle=True)}, "plain numbers or text"),
        ({"vectors__0__npy": as_npy(np.zeros((5, 3), np.float32))}, "the manifest says (5, 4)"),
        ({"vectors__0__npy": as_npy(np.zeros((5, 4), np.int32))}, "vectors of int32"),
        ({"vectors__0__npy": as_npy(np.full((5, 4), np.nan, np.float32))}, "not finite"),
        ({"vectors__0__npy": b"nonsense"}, "not a readable array"),
        ({"vectors__0__npy": header_of_a_huge_array()}, "declares"),
        ({"labels__npy": as_npy(np.arange(5))}, "expected 5 texts"),
        ({"labels__npy": as_npy(np.array(["a"]))}, "expected 5 texts"),
        ({"labels__npy": as_npy(np.frombuffer(b"\xff" * 20, "<U1"))}, "damaged text"),
        ({"paths__npy": as_npy(np.array(["a/1", "../../x", "c", "d", "e"]))}, "leads out of the dataset"),
        ({"paths__npy": as_npy(np.array(["a/1", "/etc/x", "c", "d", "e"]))}, "leads out of the dataset"),
        ({"transform__0__mean__npy": as_npy(np.zeros(3))}, "no arrays"),
    ],
)
def test_manipulated_archives_are_rejected(npz, members, message):
    """A wrong header allocates nothing large."""
    rewritten(npz, **members)
    with pytest.raises(IndexFileError) as caught:
        Index.open(npz)
    assert message in str(caught.value)


def test_compressed_archives_are_rejected(npz):
    """A zip bomb needs compression, and an index is not compressed."""
    with zipfile.ZipFile(npz, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", b"\0" * 10_000_000)
    with pytest.raises(IndexFileError, match="is compressed"):
        read_index(npz)


def test_a_flipped_bit_is_detected(npz):
    """The checksum of the archive covers the stored vectors."""
    data = bytearray(npz.read_bytes())
    with zipfile.ZipFile(npz) as archive:
        data[archive.getinfo("vectors.0.npy").header_offset + 250] ^= 1
    npz.write_bytes(data)
    with pytest.raises(IndexFileError, match=r"index\.npz"):
        Index.open(npz)


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"\x93NUMPY"])
def test_other_files_are_not_indexes(tmp_path, content):
    """The message names the file and says what to do."""
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(IndexFileError, match=r"x\.npz"):
        read_index(tmp_path / "x.npz")
    with pytest.raises(IndexFileError, match="lmm-classifier build"):
        read_index(tmp_path / "missing.npz")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IndexFileError, match=r"no index\.sqlite"):
        read_index(tmp_path / "folder")


@given(st.binary(max_size=200))
def test_a_header_is_rejected_or_right(data):
    """A header is accepted only if it describes exactly the bytes that follow."""
    blob = b"\x93NUMPY" + data
    try:
        header = read_header(io.BytesIO(blob), len(blob), "x")
    except IndexFileError:
        return
    assert header.offset + header.nbytes == len(blob)


def test_the_spool_returns_its_vectors_in_order(tmp_path):
    """In blocks, repeatedly; closing removes the file."""
    spool = VectorSpool(tmp_path / "spool", 3)
    vectors = random_embeddings(np.random.default_rng(0), 10, 3)
    spool.append(vectors[:4])
    spool.append(vectors[4:])
    for _ in range(2):
        blocks = list(spool.blocks(rows=4))
        assert [len(block) for block in blocks] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate(blocks), vectors)
    spool.close()
    assert not (tmp_path / "spool").exists()


def test_a_table_is_known_by_its_name_or_by_what_is_in_it(tmp_path):
    """A folder of workers may have any name; it is never taken for a durable index."""
    (tmp_path / "begun/arrivals.lance").mkdir(parents=True)
    (tmp_path / "durable").mkdir()
    for location in ("s3://bucket/x", tmp_path / "new.lance", tmp_path / "begun"):
        assert is_table(location)
        assert not has_durable_name(location)
        assert not is_durable(location)
        with pytest.raises(IndexFileError, match="is a table, which is read but not edited"):
            editable_path(location)
    assert not is_table(tmp_path / "durable")
    assert editable_path(tmp_path / "durable") == tmp_path / "durable"
    with pytest.raises(IndexFileError, match="cannot be edited"):
        editable_path(tmp_path / "index.npz")
