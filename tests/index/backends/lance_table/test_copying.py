"""An index becomes a table and an index again, without the loss of a bit."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.embeddings.whitening import BlockWhiteningFitter
from lmm_classifier.index.backends.lance_table.copying import write_table
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.formats import read_index, write_calibration, write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import example_fingerprint
from tests.helpers.row_stores import drawn_index

pytest.importorskip("lance", reason="needs lance")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def durable(tmp_path, contents):
    write_index(tmp_path / "first", contents)
    return read_index(tmp_path / "first")


def back(tmp_path, contents):
    write_index(tmp_path / "t.lance", contents)
    write_index(tmp_path / "second", read_index(tmp_path / "t.lance"))
    return read_index(tmp_path / "second")


def vectors_of(contents, encoder=0):
    return np.concatenate([np.asarray(block) for block in contents.vectors[encoder].blocks()])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_examples_and_vectors_come_back(tmp_path, dtype):
    """In both number types, with copies of an image, groups, dismissed findings and times."""
    index = drawn_index(2, 60, 4, 12, copies=5)
    dismissed = replace(
        Dismissal.of("label", [(index.hashes[3], index.contents.labels[3])]), time=datetime.now(UTC).isoformat()
    )
    first = durable(
        tmp_path,
        replace(
            index.contents,
            dtype=np.dtype(dtype),
            groups={index.contents.paths[0]: "object 1"},
            dismissals=[dismissed],
            milliseconds={index.manifest.space_ids[0]: 2.5},
        ),
    )
    second = back(tmp_path, first)
    for name in ("labels", "paths", "hashes"):
        assert list(getattr(second, name)) == list(getattr(first, name))
    assert vectors_of(second).tobytes() == vectors_of(first).tobytes()
    assert np.dtype(second.dtype) == np.dtype(dtype)
    assert second.groups == first.groups
    assert second.milliseconds == first.milliseconds
    assert [one.to_json() for one in second.dismissals] == [one.to_json() for one in first.dismissals]
    assert second.manifest == first.manifest


def test_several_encoders_come_back(tmp_path):
    """Each has a column of vectors and its transform."""
    one, two = drawn_index(2, 40, 4, 12), drawn_index(3, 40, 4, 6)
    encoders = (*one.manifest.encoders, replace(two.manifest.encoders[0], fingerprint=example_fingerprint(6)))
    contents = replace(
        one.contents,
        manifest=replace(one.manifest, encoders=encoders),
        vectors=(*one.contents.vectors, *two.contents.vectors),
    )
    first = durable(tmp_path, contents)
    second = back(tmp_path, first)
    for encoder in (0, 1):
        assert vectors_of(second, encoder).tobytes() == vectors_of(first, encoder).tobytes()


def test_a_fitted_transform_and_a_calibration_come_back(tmp_path):
    """The matrix that is searched has the same bits, and so has the calibration."""
    rng = np.random.default_rng(4)
    fitter = BlockWhiteningFitter((4, 3), (1.0, 1.0), 0.5)
    index = Index.from_vectors(np.abs(rng.normal(size=(50, 8))), ["a", "b"] * 25, transform=fitter)
    first = durable(tmp_path, replace(index.contents, calibration={"x": np.arange(3.0), "y": np.array(["z"])}))
    second = back(tmp_path, first)
    assert second.calibration.keys() == first.calibration.keys()
    assert np.array_equal(second.calibration["x"], first.calibration["x"])
    opened = Index.open(tmp_path / "t.lance")
    assert opened.gallery.embeddings.tobytes() == Index.open(tmp_path / "first").gallery.embeddings.tobytes()


def test_a_calibration_replaces_only_the_one_it_was_made_from(tmp_path):
    """Another that was stored meanwhile stays."""
    write_index(tmp_path / "t.lance", drawn_index(2, 20, 2, 4).contents)
    location, contents = tmp_path / "t.lance", read_index(tmp_path / "t.lance")
    assert contents.calibration is None
    assert write_calibration(location, contents, {"x": np.array([1.0])})
    assert write_calibration(location, contents, {"x": np.array([2.0])}, {"x": np.array([1.0])})
    assert not write_calibration(location, contents, {"x": np.array([3.0])}, {"x": np.array([1.0])})
    assert read_index(location).calibration["x"].tolist() == [2.0]
    assert read_index(location).stamp != contents.stamp


def test_a_finished_table_is_never_overwritten(tmp_path):
    """An unfinished one is completed."""
    contents = drawn_index(2, 20, 2, 4).contents
    write_index(tmp_path / "t.lance", contents)
    with pytest.raises(IndexFileError, match="holds an index already"):
        write_index(tmp_path / "t.lance", contents)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paths": ["a\udcff.jpg", "b", "c"]}, "is not Unicode text"),
        ({"hashes": ["1", "2", "3"]}, "no SHA-256"),
        ({"paths": ["a", "a", "c"]}, "the same id"),
    ],
)
def test_what_a_table_cannot_hold_is_refused(tmp_path, change, message):
    """By name, before anything can be read."""
    contents = replace(Index.from_vectors(np.eye(3), list("xyz")).contents, **change)
    with pytest.raises(IndexFileError, match=message):
        write_table(str(tmp_path / "t.lance"), contents)
    with pytest.raises(IndexFileError, match="no finished table"):
        read_index(tmp_path / "t.lance")
