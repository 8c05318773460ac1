"""A durable index of several encoders: a matrix of each, made again only where it must be."""

import logging
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.embeddings.whitening import BlockWhiteningFitter, IdentityTransform
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.snapshot import FOLDER, read_snapshot
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import random_embeddings
from tests.helpers.vector_indexes import write_encoders

LABELS = "ababababab"
EACH = [random_embeddings(np.random.default_rng(dim), 10, dim) for dim in (8, 16, 5)]
WHITENING = BlockWhiteningFitter((8, 7), (1.0, 1.0), 0.5)


@pytest.fixture
def folder(tmp_path):
    folder = write_encoders(tmp_path / "index", LABELS, EACH)
    read_store(folder)
    return folder


def execute(folder, statement, *values):
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        assert connection.execute(statement, values).rowcount


def overwrite(folder, but=""):
    """Make every stored vector useless but those of one encoder, and the first ones, which say how wide a matrix is."""
    execute(
        folder,
        "UPDATE vectors SET vector = zeroblob(8) WHERE encoder <> ? AND hash <> CAST(? AS BLOB)",
        but,
        f"{0:064x}",
    )


def galleries(folder):
    return [index.gallery.embeddings for index in Index.open_each(folder)]


def derived(folder):
    return {file.name for file in (folder / FOLDER).iterdir()}


def test_each_encoder_has_a_matrix_of_its_own(folder):
    """Memory-mapped; those of former versions are removed."""
    assert derived(folder) == {"1.table", "1.0.npy", "1.1.npy", "1.2.npy"}
    for matrix, vectors in zip(galleries(folder), EACH, strict=True):
        assert isinstance(matrix, np.memmap)
        np.testing.assert_array_equal(matrix, vectors)
    with Store(folder) as store:
        store.commit(Change([], ["p/000.jpg"]), store.manifest())
        store.contents()
    assert derived(folder) == {"2.table", "2.0.npy", "2.1.npy", "2.2.npy"}


def test_another_transform_of_one_encoder_makes_its_matrix_alone_again(folder):
    """The others are copied from the former version, so that their overwritten vectors have no effect."""
    whitening = WHITENING.fit(lambda: iter([EACH[1]]))
    with Store(folder) as store:
        manifest = store.manifest()
        first, second, third = manifest.encoders
        changed = replace(manifest, encoders=(first, replace(second, transform=whitening.name), third))
        identity = IdentityTransform()
        store.commit(Change([], transforms=[identity, whitening, identity]), changed)
    overwrite(folder, but=changed.space_ids[1])
    first, second, third = galleries(folder)
    np.testing.assert_array_equal(first, EACH[0])
    np.testing.assert_allclose(second, whitening.transform(EACH[1]), atol=1e-6)
    np.testing.assert_array_equal(third, EACH[2])


def test_another_order_of_the_encoders_only_copies_matrices(folder):
    """Each follows its encoder."""
    with Store(folder) as store:
        manifest = store.manifest()
        changed = replace(manifest, encoders=(*manifest.encoders[1:], manifest.encoders[0]))
        store.commit(Change([], transforms=[IdentityTransform()] * 3), changed)
    overwrite(folder)
    for matrix, vectors in zip(galleries(folder), (EACH[1], EACH[2], EACH[0]), strict=True):
        np.testing.assert_array_equal(matrix, vectors)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_damaged_matrix_of_one_encoder_is_made_again(folder, place, caplog):
    """A warning says so, and every matrix is right."""
    file = folder / FOLDER / f"1.{place}.npy"
    data = bytearray(file.read_bytes())
    data[-3] ^= 16
    file.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        for matrix, vectors in zip(galleries(folder), EACH, strict=True):
            np.testing.assert_array_equal(matrix, vectors)
    assert "made again from the database" in caplog.text
    caplog.clear()
    galleries(folder)
    assert caplog.text == ""


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"short")])
def test_a_missing_matrix_of_one_encoder_is_made_again(folder, damage):
    """The snapshot is whole or none."""
    damage(folder / FOLDER / "1.1.npy")
    assert read_snapshot(folder, 1) is None
    for matrix, vectors in zip(galleries(folder), EACH, strict=True):
        np.testing.assert_array_equal(matrix, vectors)
    assert read_snapshot(folder, 1) is not None


def test_a_read_only_folder_has_its_matrices_in_memory(folder, monkeypatch):
    """One for each encoder."""
    for file in (folder / FOLDER).iterdir():
        file.unlink()

    def refuse(*_):
        raise OSError("read-only file system")

    monkeypatch.setattr("lmm_classifier.index.storage.reader.write_snapshot", refuse)
    for matrix, vectors in zip(galleries(folder), EACH, strict=True):
        assert not isinstance(matrix, np.memmap)
        np.testing.assert_array_equal(matrix, vectors)


def test_a_vector_that_one_encoder_lacks_is_damage(folder):
    """The others do not replace it."""
    space = read_store(folder).manifest.space_ids[2]
    execute(folder, "DELETE FROM vectors WHERE encoder = ? AND hash = CAST(? AS BLOB)", space, f"{3:064x}")
    for file in (folder / FOLDER).iterdir():
        file.unlink()
    with pytest.raises(IndexFileError, match="is missing. `lmm-classifier doctor"):
        galleries(folder)


def test_a_large_snapshot_is_not_written_again_at_once(folder, monkeypatch):
    """A version shortly after it is read into memory, and is the same; later its files are written."""
    monkeypatch.setattr("lmm_classifier.index.storage.reader._LARGE", 0)
    for removed in range(1, 4):
        with Store(folder) as store:
            store.commit(Change([], [f"p/{removed:03}.jpg"]), store.manifest())
        assert read_store(folder).paths[:2] == ["p/000.jpg", f"p/{removed + 1:03}.jpg"]
        for matrix, vectors in zip(galleries(folder), EACH, strict=True):
            assert not isinstance(matrix, np.memmap)
            np.testing.assert_array_equal(matrix, np.delete(vectors, range(1, removed + 1), axis=0))
        assert "1.table" in derived(folder)
    os.utime(folder / FOLDER / "1.table", (0, time.time() - 61))
    in_memory = galleries(folder)
    assert derived(folder) == {"4.table", "4.0.npy", "4.1.npy", "4.2.npy"}
    for matrix, former in zip(galleries(folder), in_memory, strict=True):
        assert isinstance(matrix, np.memmap)
        np.testing.assert_array_equal(matrix, former)


def test_a_large_snapshot_is_written_after_a_large_change(folder, monkeypatch):
    """A reader in memory would have to read many rows from the database each time; or another transform's."""
    monkeypatch.setattr("lmm_classifier.index.storage.reader._LARGE", 0)
    monkeypatch.setattr("lmm_classifier.index.storage.reader._FEW", 2)
    with Store(folder) as store:
        store.commit(Change([], [f"p/{removed:03}.jpg" for removed in range(3)]), store.manifest())
    galleries(folder)
    assert "2.table" in derived(folder)
    with Store(folder) as store:
        manifest = store.manifest()
        changed = replace(manifest, encoders=(*manifest.encoders[1:], manifest.encoders[0]))
        store.commit(Change([], transforms=[IdentityTransform()] * 3), changed)
    galleries(folder)
    assert "3.table" in derived(folder)
