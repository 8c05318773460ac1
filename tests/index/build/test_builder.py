"""Building: nothing stops it, nothing is lost, and the report says all."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError, CorpusError, EncoderError, IndexFileError
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.encode_files import encode_each
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.index_builder import main
from tests.helpers.corpora import draw_corpus

OFFLINE = PipelineConfig.offline()


def build(corpus, output, **options):
    return build_index_from_directory(corpus, output, config=OFFLINE, **options)


@pytest.fixture
def corpus(tmp_path):
    return draw_corpus(tmp_path / "corpus", count=4, size=64)


def test_everything_is_indexed_or_listed(corpus, tmp_path):
    """Every file that was found is in the index or in the report with its reason."""
    (corpus / "stripes" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    (corpus / "stripes" / "empty.png").touch()
    (corpus / "stripes" / "notes.txt").write_text("hello")
    (corpus / "lost.png").write_bytes((corpus / "stripes" / "00.png").read_bytes())
    (corpus / "bare").mkdir()
    report = build(corpus, tmp_path / "index.npz")
    assert report.indexed == {"gingham": 4, "herringbone": 4, "polka_dots": 4, "stripes": 4}
    assert {one.path: one.kind for one in report.failed} == {
        "lost.png": "no_label",
        "stripes/broken.jpg": report.failed[-2].kind,
        "stripes/empty.png": report.failed[-1].kind,
    }
    assert "stripes/notes.txt" in {one.path for one in report.skipped}
    assert any("bare" in warning for warning in report.warnings)
    assert len(ExactIndex.open(tmp_path / "index.npz", DescriptorEncoder().fingerprint)) == 16
    json.dumps(report.to_dict())


def test_index_content(corpus, tmp_path):
    """Labels, ids and hashes are those of the files, in a stable order; the manifest names the corpus."""
    build(corpus, tmp_path / "index.npz")
    contents = read_index(tmp_path / "index.npz")
    expected = sorted(str(path.relative_to(corpus)) for path in corpus.rglob("*.png"))
    assert contents.paths == expected
    assert contents.labels == [path.split("/")[0] for path in expected]
    assert all(len(content_hash) == 64 for content_hash in contents.hashes)
    assert contents.manifest.image_root == str(corpus)
    assert contents.manifest.fingerprint == DescriptorEncoder().fingerprint
    assert contents.manifest.space == "block_whitening"


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_index_does_not_depend_on_the_batch(corpus, tmp_path, batch_size):
    """Vectors and space are bit-identical for any batch size and thread count."""
    one = PipelineConfig.offline()
    one.images.threads = 1
    build_index_from_directory(corpus, tmp_path / "one", batch_size=3, config=one)
    build(corpus, tmp_path / "other", batch_size=batch_size)
    first, second = read_index(tmp_path / "one"), read_index(tmp_path / "other")
    for left, right in zip(first.vector_blocks(), second.vector_blocks(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert first.space_state.keys() == second.space_state.keys()
    for name in first.space_state:
        np.testing.assert_array_equal(first.space_state[name], second.space_state[name])


def test_same_bytes_under_two_labels_are_named(corpus, tmp_path):
    """A picture that contradicts itself is warned about, with both places."""
    shutil.copy(corpus / "stripes" / "00.png", corpus / "gingham" / "copy.png")
    warnings = build(corpus, tmp_path / "index.npz").warnings
    assert any("gingham/copy.png" in warning and "stripes/00.png" in warning for warning in warnings)


def test_progress_reaches_the_total(corpus, tmp_path):
    """Progress counts every picture, bad ones too, and never goes back."""
    (corpus / "stripes" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    seen = []
    build(corpus, tmp_path / "index.npz", batch_size=5, progress=seen.append)
    assert [one.done for one in seen] == [5, 10, 15, 17]
    assert {one.total for one in seen} == {17}
    assert seen[-1].skipped == 1


@pytest.mark.parametrize(
    "make", [lambda root: None, lambda root: root.mkdir(), lambda root: (root / "a").mkdir(parents=True)]
)
def test_nothing_to_index_is_an_error(tmp_path, make):
    """A missing, empty or pictureless corpus is refused, and no index appears."""
    make(tmp_path / "corpus")
    with pytest.raises(CorpusError):
        build(tmp_path / "corpus", tmp_path / "index.npz")
    assert not (tmp_path / "index.npz").exists()


def test_only_bad_pictures_is_an_error(tmp_path):
    """If no picture can be read, the first reasons are told and nothing is left behind."""
    (tmp_path / "corpus" / "a").mkdir(parents=True)
    (tmp_path / "corpus" / "a" / "x.jpg").write_bytes(b"nonsense")
    with pytest.raises(CorpusError, match=r"x\.jpg"):
        build(tmp_path / "corpus", tmp_path / "out" / "index.npz")
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_arguments(corpus, tmp_path):
    """A batch size of zero, and an output that cannot be written, are refused in words."""
    with pytest.raises(ConfigError, match="batch_size"):
        build(corpus, tmp_path / "index.npz", batch_size=0)
    (tmp_path / "file").touch()
    with pytest.raises(IndexFileError, match="choose another output"):
        build(corpus, tmp_path / "file" / "index.npz")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x").touch()
    with pytest.raises(IndexFileError, match="not an index"):
        build(corpus, tmp_path / "photos")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "file", "photos"]


def test_module_command_exit_codes(corpus, tmp_path, capsys):
    """0 all indexed, 3 some skipped, 1 failed; the JSON report lists what the table shows."""
    options = ["--output", str(tmp_path / "i.npz"), "--config", "config/offline.yaml", "--report", str(tmp_path / "r")]
    assert main([str(corpus), *options]) == 0
    (corpus / "stripes" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert main([str(corpus), *options]) == 3
    assert "broken.jpg" in capsys.readouterr().err
    assert json.loads((tmp_path / "r").read_text())["skipped"][0]["path"] == "stripes/broken.jpg"
    assert main([str(tmp_path / "nowhere"), *options]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


class PickyEncoder(DescriptorEncoder):
    """A real encoder that refuses black pictures, as a model may give no finite vector for some."""

    def encode(self, prepared):
        if not all(pixels.any() for pixels in prepared):
            raise EncoderError("not finite")
        return super().encode(prepared)


def test_one_picture_does_not_cost_its_batch():
    """The others of the batch get their vectors; if all fail, the encoder is to blame."""
    encoder = PickyEncoder()
    good = [Image.new("RGB", (40, 40), (i * 40, 90, 30)) for i in range(3)]
    good = [encoder.prepare(image) for image in good]
    black = encoder.prepare(Image.new("RGB", (40, 40)))
    vectors, errors = encode_each(encoder, [good[0], black, good[1], good[2]])
    np.testing.assert_array_equal(vectors, encoder.encode(good))
    assert list(errors) == [1]
    with pytest.raises(EncoderError):
        encode_each(encoder, [black, black])
    assert list(encode_each(encoder, [black])[1]) == [0]
