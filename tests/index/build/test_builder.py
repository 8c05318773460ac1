"""Building an index: bad images do not stop it, and the report is complete."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import Cancelled, ConfigError, DatasetError, EncoderError, IndexFileError
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_files import encode_each
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import Index
from lmm_classifier.index_builder import main
from tests.helpers.datasets import draw_dataset

OFFLINE = PipelineConfig.offline()


def build(dataset, output, **options):
    return build_index_from_directory(dataset, output, config=OFFLINE, **options)


@pytest.fixture
def dataset(tmp_path):
    return draw_dataset(tmp_path / "dataset", count=4, size=64)


def test_every_file_is_indexed_or_reported(dataset, tmp_path):
    """A file that is not in the index is in the report, with a reason."""
    (dataset / "stripes" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not an image")
    (dataset / "stripes" / "empty.png").touch()
    (dataset / "stripes" / "notes.txt").write_text("hello")
    (dataset / "lost.png").write_bytes((dataset / "stripes" / "00.png").read_bytes())
    (dataset / "bare").mkdir()
    report = build(dataset, tmp_path / "index.npz")
    assert report.indexed == {"gingham": 4, "herringbone": 4, "polka_dots": 4, "stripes": 4}
    assert {file.path: file.kind for file in report.failed} == {
        "lost.png": "no_label",
        "stripes/broken.jpg": report.failed[-2].kind,
        "stripes/empty.png": report.failed[-1].kind,
    }
    assert "stripes/notes.txt" in {file.path for file in report.skipped}
    assert any("bare" in warning for warning in report.warnings)
    assert len(Index.open(tmp_path / "index.npz", DescriptorEncoder().fingerprint)) == 16
    json.dumps(report.to_dict())


def test_labels_ids_and_hashes_are_those_of_the_files(dataset, tmp_path):
    """In a stable order; the manifest names the dataset."""
    build(dataset, tmp_path / "index.npz")
    contents = read_index(tmp_path / "index.npz")
    expected = sorted(str(path.relative_to(dataset)) for path in dataset.rglob("*.png"))
    assert contents.paths == expected
    assert contents.labels == [path.split("/")[0] for path in expected]
    assert all(len(content_hash) == 64 for content_hash in contents.hashes)
    assert contents.manifest.image_root == str(dataset)
    (entry,) = contents.manifest.encoders
    assert (entry.fingerprint, entry.transform) == (DescriptorEncoder().fingerprint, "block_whitening")


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_index_does_not_depend_on_the_batch(dataset, tmp_path, batch_size):
    """Vectors and transform are bit-identical for any batch size and number of threads."""
    config = PipelineConfig.offline()
    config.images.threads = 1
    build_index_from_directory(dataset, tmp_path / "first", batch_size=3, config=config)
    build(dataset, tmp_path / "second", batch_size=batch_size)
    first, second = read_index(tmp_path / "first"), read_index(tmp_path / "second")
    (first_vectors,), (second_vectors,) = first.vectors, second.vectors
    for left, right in zip(first_vectors.blocks(), second_vectors.blocks(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert first_vectors.transform_arrays.keys() == second_vectors.transform_arrays.keys()
    for name, array in first_vectors.transform_arrays.items():
        np.testing.assert_array_equal(array, second_vectors.transform_arrays[name])


def test_the_same_image_under_two_labels_causes_a_warning(dataset, tmp_path):
    """It names both files."""
    shutil.copy(dataset / "stripes" / "00.png", dataset / "gingham" / "copy.png")
    warnings = build(dataset, tmp_path / "index.npz").warnings
    assert any("gingham/copy.png" in warning and "stripes/00.png" in warning for warning in warnings)


def test_progress_reaches_the_total(dataset, tmp_path):
    """It counts every image, bad ones too."""
    (dataset / "stripes" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    calls = []
    build(dataset, tmp_path / "index.npz", batch_size=5, progress=calls.append)
    assert [progress.done for progress in calls] == [5, 10, 15, 17]
    assert {progress.total for progress in calls} == {17}
    assert calls[-1].skipped == 1


class CountingEncoder(DescriptorEncoder):
    """The real descriptor, which counts the images that it encodes."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def encode(self, preprocessed):
        self.count += len(preprocessed)
        return super().encode(preprocessed)


def cancel_after_eight(progress):
    if progress.done >= 8:
        raise Cancelled


def test_a_cancelled_build_of_a_durable_index_is_resumed(dataset, tmp_path):
    """Committed images are not encoded again, and the resumed index equals one that was not cancelled."""
    index = tmp_path / "index"
    with pytest.raises(Cancelled):
        build(dataset, index, batch_size=4, progress=cancel_after_eight)
    with Store(index) as store:
        assert len(store.encoded_hashes(DescriptorEncoder().fingerprint.space_id)) == 8
    with pytest.raises(IndexFileError, match=r"interrupted after 8 images.*`lmm-classifier build`.*to resume it"):
        read_index(index)
    with pytest.raises(IndexFileError, match="did not finish. Run `lmm-classifier build` again to resume it"):
        IndexEditor(index, OFFLINE).sync()
    encoder = CountingEncoder()
    assert build(dataset, index, batch_size=4, encoder=encoder).total == 16
    assert encoder.count == 8
    build(dataset, tmp_path / "complete")
    resumed, complete = Index.open(index), Index.open(tmp_path / "complete")
    assert resumed.examples == complete.examples
    np.testing.assert_array_equal(resumed.gallery.embeddings, complete.gallery.embeddings)


def test_a_cancelled_build_of_a_file_writes_nothing(dataset, tmp_path):
    """No temporary file remains."""
    with pytest.raises(Cancelled):
        build(dataset, tmp_path / "index.npz", batch_size=4, progress=cancel_after_eight)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


@pytest.mark.parametrize(
    "make", [lambda root: None, lambda root: root.mkdir(), lambda root: (root / "a").mkdir(parents=True)]
)
def test_a_dataset_without_images_is_an_error(tmp_path, make):
    """No index is written."""
    make(tmp_path / "dataset")
    with pytest.raises(DatasetError):
        build(tmp_path / "dataset", tmp_path / "index.npz")
    assert not (tmp_path / "index.npz").exists()


def test_a_dataset_of_bad_images_is_an_error(tmp_path):
    """The message gives the first reasons, and no file remains."""
    (tmp_path / "dataset" / "a").mkdir(parents=True)
    (tmp_path / "dataset" / "a" / "x.jpg").write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match=r"x\.jpg"):
        build(tmp_path / "dataset", tmp_path / "out" / "index.npz")
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_arguments_are_errors(dataset, tmp_path):
    """A batch size of zero, and outputs that cannot be written."""
    with pytest.raises(ConfigError, match="batch_size"):
        build(dataset, tmp_path / "index.npz", batch_size=0)
    (tmp_path / "file").touch()
    with pytest.raises(IndexFileError, match="Choose another output"):
        build(dataset, tmp_path / "file" / "index.npz")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x").touch()
    with pytest.raises(IndexFileError, match="not an index"):
        build(dataset, tmp_path / "photos")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "file", "photos"]


def test_the_exit_code_of_the_module_tells_the_result(dataset, tmp_path, capsys):
    """0 all images indexed, 3 some skipped, 1 failed. The JSON report lists the skipped images."""
    options = ["--output", str(tmp_path / "i.npz"), "--config", "config/offline.yaml", "--report", str(tmp_path / "r")]
    assert main([str(dataset), *options]) == 0
    (dataset / "stripes" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert main([str(dataset), *options]) == 3
    assert "broken.jpg" in capsys.readouterr().err
    assert json.loads((tmp_path / "r").read_text())["skipped"][0]["path"] == "stripes/broken.jpg"
    assert main([str(tmp_path / "nowhere"), *options]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


class PickyEncoder(DescriptorEncoder):
    """A real encoder that rejects black images, as a model may give no finite vector for some images."""

    def encode(self, preprocessed):
        if not all(pixels.any() for pixels in preprocessed):
            raise EncoderError("not finite")
        return super().encode(preprocessed)


def test_a_bad_image_does_not_affect_its_batch():
    """The other images get their vectors. If all fail, the error is the encoder's."""
    encoder = PickyEncoder()
    good = [Image.new("RGB", (40, 40), (i * 40, 90, 30)) for i in range(3)]
    good = [encoder.preprocess(image) for image in good]
    black = encoder.preprocess(Image.new("RGB", (40, 40)))
    vectors, errors = encode_each(encoder, [good[0], black, good[1], good[2]])
    np.testing.assert_array_equal(vectors, encoder.encode(good))
    assert list(errors) == [1]
    with pytest.raises(EncoderError):
        encode_each(encoder, [black, black])
    assert list(encode_each(encoder, [black])[1]) == [0]
