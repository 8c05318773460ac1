"""ONNX encoders: real photographs through a real model, and checks of descriptions."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.neighbors import KNeighborsClassifier

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.embeddings.onnx import OnnxEncoder
from lmm_classifier.index.vector_index import Index
from tests.conftest import MOBILENET
from tests.contracts.test_index import write
from tests.embeddings.test_preprocessing import gradient


@pytest.mark.parametrize(
    ("step", "least", "most"),
    [  # measured: 68.2%, 73.3%, 80.4%
        (16, 0.6, 0.75),
        pytest.param(4, 0.71, 0.76, marks=pytest.mark.long),
        pytest.param(1, 0.78, 0.83, marks=pytest.mark.long),
    ],
)
def test_five_nearest_neighbors_agree_with_scikit_learn(clothing_mobilenet, tmp_path, step, least, most):
    """Plain 5-NN over the index gives the labels of scikit-learn, image by image."""
    data = clothing_mobilenet(step)
    index = Index.open(write(tmp_path / "index.npz", data.train, labels=data.train_labels))
    names = np.array(index.label_names)
    ours = []
    for neighbors in index.search(data.new, 5):
        votes = np.array([neighbor.example.label for neighbor in neighbors])
        ours.append(names[np.argmax([(votes == name).sum() for name in names])])
    theirs = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(data.train, data.train_labels)
    assert (np.array(ours) == theirs.predict(data.new)).all()
    right = np.mean(np.array(ours) == data.new_labels)
    assert least <= right <= most


@pytest.mark.parametrize(
    ("step", "least"),  # measured: 68.2%, 77.9%, 82.1%
    [(16, 0.65), pytest.param(4, 0.77, marks=pytest.mark.long), pytest.param(1, 0.81, marks=pytest.mark.long)],
)
def test_weighted_knn_on_clothing(clothing_mobilenet, tmp_path, step, least):
    """The default rule is right for at least 81% of the new photographs, and for 77% with a quarter of the images."""
    from lmm_classifier.neighbors.voting import WeightedKnn

    data = clothing_mobilenet(step)
    index = Index.open(write(tmp_path / "index", data.train, labels=data.train_labels))
    scores = WeightedKnn(index.label_ids, len(index.label_names), k=20, temperature=0.05).scores(
        index.compare(data.new)
    )
    chosen = np.array(index.label_names)[scores.argmax(axis=1)]
    assert np.mean(chosen == data.new_labels) >= least


def test_missing_parts_say_what_to_do(tmp_path):
    """A missing model, description or content has its own error, with a template for the description."""
    with pytest.raises(EncoderError, match=r"encoder\.model"):
        OnnxEncoder(tmp_path / "no.onnx")
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EncoderError, match=r"(?s)write .*model\.yaml.*size: 224"):
        OnnxEncoder(tmp_path / "model.onnx")
    (tmp_path / "model.yaml").write_text(MOBILENET)
    with pytest.raises(EncoderError, match="not a readable ONNX model"):
        OnnxEncoder(tmp_path / "model.onnx")


def test_wrong_names_and_shapes(mobilenet, tmp_path):
    """The errors name the existing outputs, and the input shape that the model refuses."""
    description = tmp_path / "other.yaml"
    description.write_text(MOBILENET + "output: nothing\n")
    with pytest.raises(EncoderError, match="name one of"):
        OnnxEncoder(mobilenet, description)
    description.write_text(MOBILENET + "layout: nhwc\n")
    with pytest.raises(EncoderError, match="refused its input"):
        OnnxEncoder(mobilenet, description)


def test_preprocessing_is_part_of_the_fingerprint(mobilenet, tmp_path):
    """Other preprocessing gives another fingerprint; the number of threads does not."""
    first = OnnxEncoder(mobilenet).fingerprint
    description = tmp_path / "other.yaml"
    description.write_text(MOBILENET.replace("bilinear", "bicubic"))
    assert OnnxEncoder(mobilenet, description).fingerprint.differences(first) == ["preprocessing"]
    assert OnnxEncoder(mobilenet, threads=1).fingerprint == first
    assert first.dim == 1280


def test_threads_do_not_change_a_vector(mobilenet):
    """One thread and two give the same bits."""
    image = gradient(120, 90)
    rows = [encode_images(OnnxEncoder(mobilenet, threads=count), [image]) for count in (1, 2)]
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.parametrize(
    ("nodes", "side", "size", "expected"),
    [
        ([("Flatten", ["x"], ["y"], {})], 16, 8, r"it takes \[1, 3, 16, 16\]\. Set size and layout in its description"),
        ([("Reshape", ["x", "s"], ["y"], {})], None, 8, "refused its input of shape"),
        ([("NonZero", ["x"], ["i"], {}), ("Cast", ["i"], ["y"], {"to": 1})], 8, 8, "numbers for an image, but"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused_in_one_line(tmp_path, capfd, nodes, side, size, expected):
    """Another input size, a failing layer, and vectors of several lengths: the error names the file and the reason."""
    helper = pytest.importorskip("onnx.helper", reason="onnx is not installed")
    graph = helper.make_graph(
        [helper.make_node(kind, ins, outs, **options) for kind, ins, outs, options in nodes],
        "model",
        [helper.make_tensor_value_info("x", 1, [1, 3, side, side])],
        [helper.make_tensor_value_info("y", 1, None)],
        [helper.make_tensor("s", 7, [2], [7, 13])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "model.yaml").write_text(f"size: {size}\n")
    black, white = np.zeros((size, size, 3), np.uint8), np.full((size, size, 3), 255, np.uint8)
    with pytest.raises(EncoderError, match=expected) as caught:
        OnnxEncoder(tmp_path / "model.onnx").encode([black, white])
    assert str(tmp_path / "model.onnx") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
