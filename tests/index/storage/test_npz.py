"""An index of several encoders as one file: vectors, transforms and times of each."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.embeddings.whitening import BlockWhiteningFitter, IdentityTransform
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import random_embeddings
from tests.helpers.vector_indexes import write_encoders

DIMS = (4, 16, 7)
EACH = [random_embeddings(np.random.default_rng(dim), 5, dim) for dim in DIMS]
WHITENING = BlockWhiteningFitter((8, 7), (1.0, 2.0), 0.5).fit(lambda: iter([EACH[1]]))
TRANSFORMS = [IdentityTransform(), WHITENING, IdentityTransform()]


@pytest.fixture
def npz(tmp_path):
    return write_encoders(tmp_path / "index.npz", "ababa", EACH, transforms=TRANSFORMS)


def changed(npz, **members):
    """The same file with members replaced, or removed (None)."""
    with zipfile.ZipFile(npz) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()} | members
    with zipfile.ZipFile(npz, "w") as archive:
        for name, data in contents.items():
            if data is not None:
                archive.writestr(name, data)
    return npz


def as_npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["index.npz", "index"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_vectors_and_transforms_of_each_encoder_are_read_back(tmp_path, name, dtype):
    """In either format, and by way of the other one: an import and an export change no number."""
    path = write_encoders(tmp_path / name, "ababa", EACH, dtype=dtype, transforms=TRANSFORMS)
    other = tmp_path / ("exported.npz" if name == "index" else "imported")
    write_index(other, read_index(path))
    write_index(tmp_path / "again.npz", read_index(other))
    for place in (path, other, tmp_path / "again.npz"):
        contents = read_index(place)
        assert [entry.transform for entry in contents.manifest.encoders] == ["identity", "block_whitening", "identity"]
        for vectors, expected, transform in zip(contents.vectors, EACH, TRANSFORMS, strict=True):
            np.testing.assert_array_equal(np.concatenate(list(vectors.blocks())), expected.astype(dtype))
            assert vectors.transform_arrays.keys() == transform.to_arrays().keys()
            for key, array in transform.to_arrays().items():
                np.testing.assert_array_equal(vectors.transform_arrays[key], array)
        for index, expected, transform in zip(Index.open_each(place), EACH, TRANSFORMS, strict=True):
            rows = expected.astype(dtype).astype(np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            np.testing.assert_allclose(index.gallery.embeddings, transform.transform(rows), atol=1e-6)


def test_numpy_reads_the_vectors_of_each_encoder(npz):
    """They are named by the place of their encoder in the manifest."""
    with np.load(npz, allow_pickle=False) as arrays:
        for place, vectors in enumerate(EACH):
            np.testing.assert_array_equal(arrays[f"vectors.{place}"], vectors)
        assert {name for name in arrays.files if name.startswith("transform")} == {
            f"transform.1.{name}" for name in WHITENING.to_arrays()
        }
        assert len(json.loads(arrays["manifest.json"])["encoders"]) == 3


def test_the_time_of_each_encoder_is_kept(tmp_path, npz):
    """For those of which it is known, through both formats; an index without times is as good."""
    contents = read_index(npz)
    first, _, third = contents.manifest.space_ids
    times = {first: 12.5, third: 0.25}
    write_index(tmp_path / "timed.npz", replace(contents, milliseconds=times))
    write_index(tmp_path / "timed", read_index(tmp_path / "timed.npz"))
    for name in ("timed.npz", "timed"):
        assert read_index(tmp_path / name).milliseconds == pytest.approx(times)
    assert contents.milliseconds == {}
    assert read_index(changed(npz, **{"milliseconds.npy": None})).milliseconds == {}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"vectors.2.npy": None}, "vectors.2.npy missing"),
        ({"vectors.3.npy": as_npy(EACH[0])}, "a member 'vectors.3.npy'"),
        ({"vectors.npy": as_npy(EACH[0])}, "a member 'vectors.npy'"),
        ({"vectors.1.npy": as_npy(EACH[0])}, "the manifest says (5, 16)"),
        ({"vectors.1.npy": as_npy(EACH[1][:4])}, "the manifest says (5, 16)"),
        ({"milliseconds.npy": as_npy(np.ones(2))}, "expected one for each encoder"),
        ({"milliseconds.npy": as_npy(np.array(["a", "b", "c"]))}, "expected one for each encoder"),
        ({f"transform.1.{name}.npy": None for name in WHITENING.to_arrays()}, "arrays of block_whitening"),
    ],
)
def test_what_does_not_fit_the_encoders_is_damage(npz, members, message):
    """Of whichever encoder."""
    with pytest.raises(IndexFileError) as caught:
        Index.open_each(changed(npz, **members))
    assert message in str(caught.value)
