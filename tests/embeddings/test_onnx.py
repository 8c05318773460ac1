"""Exported encoders: real photographs through a real model, and descriptions that are checked."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.embeddings.onnx import OnnxEncoder
from lmm_classifier.index.vector_index import ExactIndex
from tests.conftest import MOBILENET
from tests.contracts.test_index import write
from tests.embeddings.test_preprocessing import gradient


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
    from lmm_classifier.neighbors.voting import SoftmaxVote

    data = clothing_mobilenet
    index = ExactIndex.open(write(tmp_path / "index", data.train, labels=data.train_labels))
    scores = SoftmaxVote(index.label_ids, len(index.label_names)).scores(index.compare(data.new))
    chosen = np.array(index.label_names)[scores.argmax(axis=1)]
    assert np.mean(chosen == data.new_labels) >= 0.81


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
