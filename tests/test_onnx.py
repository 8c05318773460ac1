"""Exported encoders: real photographs through a real model, and descriptions that are checked."""

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

from lmm_classifier.embeddings.onnx import OnnxEncoder, Preprocessing
from lmm_classifier.errors import ConfigError, EncoderError
from lmm_classifier.index.exact import ExactIndex
from tests.conftest import MOBILENET
from tests.test_index_contract import write


def describe(tmp_path, text):
    (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
    return Preprocessing.from_yaml(tmp_path / "model.yaml")


def test_five_nearest_neighbours_agree_with_scikit_learn(clothing_mobilenet, tmp_path):
    """Plain 5-NN over our index gives, picture by picture, what an independent computation gives."""
    data = clothing_mobilenet
    index = ExactIndex.open(write(tmp_path / "index.npz", data.train, labels=data.train_labels))
    names = np.array(index.label_names)
    ours = []
    for neighbors in index.search(data.new, 5):
        votes = np.array([neighbor.example.label for neighbor in neighbors])
        ours.append(names[np.argmax([(votes == name).sum() for name in names])])
    theirs = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(data.train, data.train_labels)
    assert (np.array(ours) == theirs.predict(data.new)).all()
    right = np.mean(np.array(ours) == data.new_labels)
    assert 0.78 <= right <= 0.83  # measured: 80.4 %


def test_softmax_vote_on_clothing(clothing_mobilenet, tmp_path):
    """The default rule on real features is right for at least 81 % of the new photographs."""
    from lmm_classifier.voting import SoftmaxVote

    data = clothing_mobilenet
    index = ExactIndex.open(write(tmp_path / "index", data.train, labels=data.train_labels))
    scores = SoftmaxVote(index.label_ids, len(index.label_names)).scores(index.compare(data.new))
    chosen = np.array(index.label_names)[scores.argmax(axis=1)]
    assert np.mean(chosen == data.new_labels) >= 0.81


def gradient(width, height):
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 / width, y * 255 / height, x * 0 + 40], -1).astype(np.uint8))


def test_values_layout_and_channels(tmp_path):
    """Value = (pixel / 255 - mean) / std; bgr turns the channels, nhwc keeps them last."""
    image = Image.new("RGB", (9, 9), (255, 0, 51))
    base = "size: 4\nmean: [0.5, 0.0, 0.1]\nstd: [0.5, 1, 0.2]\n"
    expected = np.array([1.0, 0.0, 0.5], np.float32)
    planes = describe(tmp_path, base).apply(image)
    assert planes.shape == (3, 4, 4)
    np.testing.assert_allclose(planes[:, 2, 2], expected, atol=1e-6)
    last = describe(tmp_path, base + "layout: nhwc\nchannels: bgr\n").apply(image)
    assert last.shape == (4, 4, 3)
    np.testing.assert_allclose(last[1, 1], expected[::-1], atol=1e-6)


def test_crop_equals_resize_then_centre_crop(tmp_path):
    """The part that is seen is the one of the usual two steps, without making the large picture."""
    image = gradient(300, 200)
    got = describe(tmp_path, "size: 64\nfit: crop\nresize: 80\nresample: bilinear\n").apply(image)
    resized = image.resize((120, 80), Image.Resampling.BILINEAR).crop((28, 8, 92, 72))
    expected = np.asarray(resized, np.float32).transpose(2, 0, 1) / 255
    assert np.abs(got - expected).max() < 2.5 / 255


def test_squash_and_sides(tmp_path):
    """Squash takes the whole picture; a size may be height and width."""
    got = describe(tmp_path, "size: [20, 40]\nfit: squash\n").apply(gradient(300, 200))
    assert got.shape == (3, 20, 40)
    assert got[0, :, -1].mean() > 0.95


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fit: crop", "size"),
        ("size: 0", "size"),
        ("size: 8\nfit: stretch", "fit"),
        ("size: 8\nmean: [1, 2]", "mean"),
        ("size: 8\nstd: [1, 1, 0]", "std"),
        ("size: 8\ncolour: rgb", "colour"),
        ("size: [", "not plain YAML"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, text, said):
    """A wrong key or value is named, with the file."""
    with pytest.raises(ConfigError) as caught:
        describe(tmp_path, text)
    assert said in str(caught.value)
    assert "model.yaml" in str(caught.value)


def test_missing_parts_say_what_to_do(tmp_path):
    """No model, no description, no model content: each is told, with a template for the description."""
    with pytest.raises(EncoderError, match=r"encoder\.model"):
        OnnxEncoder(tmp_path / "no.onnx")
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EncoderError, match=r"(?s)write .*model\.yaml.*size: 224"):
        OnnxEncoder(tmp_path / "model.onnx")
    (tmp_path / "model.yaml").write_text(MOBILENET)
    with pytest.raises(EncoderError, match="not a loadable ONNX model"):
        OnnxEncoder(tmp_path / "model.onnx")


def test_the_template_is_a_description(tmp_path):
    """What the error message offers can be used as it is."""
    from lmm_classifier.embeddings.onnx import _TEMPLATE

    assert describe(tmp_path, _TEMPLATE).shape == (224, 224)


def test_wrong_names_and_shapes(mobilenet, tmp_path):
    """An output that is not there, and a size that the model refuses, are told with what there is."""
    described = tmp_path / "other.yaml"
    described.write_text(MOBILENET + "output: nothing\n")
    with pytest.raises(EncoderError, match="name one of"):
        OnnxEncoder(mobilenet, described)
    described.write_text(MOBILENET + "layout: nhwc\n")
    with pytest.raises(EncoderError, match="refused its input"):
        OnnxEncoder(mobilenet, described)


def test_preprocessing_is_part_of_the_fingerprint(mobilenet, tmp_path):
    """Other preprocessing is another encoder; threads are not."""
    first = OnnxEncoder(mobilenet).fingerprint
    described = tmp_path / "other.yaml"
    described.write_text(MOBILENET.replace("bilinear", "bicubic"))
    assert OnnxEncoder(mobilenet, described).fingerprint.differences(first) == ["preprocessing"]
    assert OnnxEncoder(mobilenet, threads=1).fingerprint == first
    assert first.dim == 1280


def test_threads_do_not_change_a_vector(mobilenet):
    """One thread or two: bit-identical."""
    image = gradient(120, 90)
    one, two = (OnnxEncoder(mobilenet, threads=count).encode_images([image]) for count in (1, 2))
    np.testing.assert_array_equal(one, two)
